package verify

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// ivRun is a run of counter blocks that some samples of a key used, from First
// to Last, both included. Successive samples join into one run, so that a
// segment has few.
type ivRun struct {
	KID         string
	First, Last counter
	fit         counter // the IV that goes on with this run
	size        int
}

// counter is a 128-bit number.
type counter struct{ hi, lo uint64 }

func (c counter) less(d counter) bool { return c.hi < d.hi || c.hi == d.hi && c.lo < d.lo }

func (c counter) plus(n uint64) counter {
	lo := c.lo + n
	if lo < c.lo {
		return counter{c.hi + 1, lo}
	}
	return counter{c.hi, lo}
}

// iv notes the counter blocks of a sample (ISO/IEC 23001-7, 9.3): an IV of 8
// bytes is the upper half of the counter, so that samples never meet unless
// their IVs are equal; one of 16 bytes counts on by the sample's blocks.
func (b *boxFacts) iv(iv []byte, protected int64) {
	var c counter
	var blocks uint64
	switch len(iv) {
	case 8:
		c = counter{0, binary.BigEndian.Uint64(iv)}
	case 16:
		c = counter{binary.BigEndian.Uint64(iv), binary.BigEndian.Uint64(iv[8:])}
		if b.init.Scheme == "cenc" && protected > 16 {
			blocks = uint64(protected+15)/16 - 1
		}
	default:
		return
	}
	last := c.plus(blocks)
	if n := len(b.ivs); n > 0 && b.ivs[n-1].fit == c && b.ivs[n-1].size == len(iv) {
		b.ivs[n-1].Last, b.ivs[n-1].fit = last, last.plus(1)
		return
	}
	const most = 4096 // runs of one segment: beyond it nothing is learnt
	if len(b.ivs) < most {
		b.ivs = append(b.ivs, ivRun{KID: b.init.KID, First: c, Last: last, fit: last.plus(1), size: len(iv)})
	}
}

// runOf is a run with the segment that it is of.
type runOf struct {
	ivRun
	where string
}

// overlaps returns the pairs of runs of one key that share a counter block.
func overlaps(runs []runOf) (out []string) {
	slices.SortFunc(runs, func(a, b runOf) int {
		switch {
		case a.KID != b.KID:
			if a.KID < b.KID {
				return -1
			}
			return 1
		case a.First == b.First:
			return 0
		case a.First.less(b.First):
			return -1
		}
		return 1
	})
	for i := 1; i < len(runs); i++ {
		a, b := runs[i-1], runs[i]
		if a.KID == b.KID && !a.Last.less(b.First) {
			out = append(out, fmt.Sprintf("%s and %s use the same counter blocks under key %s", a.where, b.where, a.KID))
		}
	}
	return out
}
