package pipeline

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/Eyevinn/mp4ff/mp4"
)

// ivRange are the initialization vectors of a segment's samples under cenc:
// the packager counts them up by one.
type ivRange struct{ first, last uint64 }

// add takes the vectors of one fragment. AES in counter mode makes the same
// keystream of the same vector, so none may come twice; vectors that do not
// count up could not be told apart by their first and last one.
func (r *ivRange) add(ivs []mp4.InitializationVector) error {
	for _, iv := range ivs {
		if len(iv) != 8 {
			return fmt.Errorf("an initialization vector of %d bytes", len(iv))
		}
		switch v := binary.BigEndian.Uint64(iv); {
		case *r == ivRange{}:
			r.first, r.last = v, v
		case v != r.last+1:
			return fmt.Errorf("initialization vectors do not count up")
		default:
			r.last = v
		}
	}
	return nil
}

// disjoint wants no initialization vector twice under one key
// (ISO/IEC 23001-7, 9.2).
func disjoint(ranges []ivRange) error {
	slices.SortFunc(ranges, func(a, b ivRange) int { return cmp.Compare(a.first, b.first) })
	for i, r := range ranges {
		if r.last < r.first || i > 0 && r.first <= ranges[i-1].last {
			return fmt.Errorf("an initialization vector came twice")
		}
	}
	return nil
}
