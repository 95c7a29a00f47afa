package verify

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Of the boxes of one resource outside its media data. A segment of a stranger
// that goes beyond them would make the parser use its memory, stack or time up,
// and none of these can be recovered from.
const (
	maxBoxDepth   = 256     // boxes within boxes; CMAF has 10, bytes that look like boxes add some
	maxBoxSamples = 1 << 20 // samples that its trun boxes announce
)

var piffSenc = string([]byte{0xa2, 0x39, 0x4f, 0x52, 0x5a, 0x9b, 0x4f, 0x14, 0xa2, 0x44, 0x6c, 0x42, 0x7c, 0x64, 0x8d, 0xf4})

// boundBoxes refuses boxes that announce more than their bytes can hold, or are
// nested deeper than media has them. It looks at every offset, as it knows not
// which boxes hold others.
func boundBoxes(body []byte) error {
	samples := 0
	for len(body) >= 8 {
		size, name := uint64(binary.BigEndian.Uint32(body)), string(body[4:8])
		if size == 1 && len(body) >= 16 && name == "mdat" {
			size = binary.BigEndian.Uint64(body[8:])
		}
		if size < 8 || size > uint64(len(body)) {
			return nil // the parser refuses it
		}
		if name != "mdat" {
			if err := boundBox(body[:size], &samples); err != nil {
				return err
			}
		}
		body = body[size:]
	}
	return nil
}

// boundBox looks at one box of the top level.
func boundBox(b []byte, samples *int) error {
	var ends []int // of the boxes that offset i may lie in, the outermost first
	for i := 0; i+8 <= len(b); i++ {
		size := int(binary.BigEndian.Uint32(b[i:]))
		if size < 8 || size > len(b)-i || !printable(b[i+4:i+8]) {
			continue
		}
		for len(ends) > 0 && ends[len(ends)-1] <= i {
			ends = ends[:len(ends)-1]
		}
		if ends = append(ends, i+size); len(ends) > maxBoxDepth {
			return fmt.Errorf("boxes are nested more than %d deep", maxBoxDepth)
		}
		if err := boundCounts(b[i:i+size], samples); err != nil {
			return err
		}
	}
	return nil
}

// printable tells whether it may be the name of a box that holds others.
func printable(name []byte) bool {
	for _, c := range name {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == ' ', c == '-', c == '.', c == 0xa9:
		default:
			return false
		}
	}
	return true
}

// boundCounts compares what a box announces with its size.
func boundCounts(b []byte, samples *int) error {
	name := string(b[4:8])
	if name == "uuid" && len(b) >= 24 && string(b[8:24]) == piffSenc {
		name, b = "senc", b[16:]
	}
	if len(b) < 16 {
		return nil
	}
	count := int(binary.BigEndian.Uint32(b[12:]))
	switch name {
	case "senc": // without bytes it says only how many samples have a constant IV
		if len(b) > 16 && count > len(b)-16 {
			return fmt.Errorf("a senc box of %d bytes announces %d samples", len(b), count)
		}
	case "trun":
		if *samples += count; *samples > maxBoxSamples {
			return fmt.Errorf("trun boxes announce more than %d samples", maxBoxSamples)
		}
	case "sgpd": // alst entries are allocated by the length that they announce
		if string(b[12:16]) != "alst" || len(b) < 20 || b[8] == 0 {
			return nil
		}
		if n := int(binary.BigEndian.Uint32(b[16:])); n == 0 || n > len(b) {
			return errors.New("an sgpd box whose alst entries are longer than it, or have lengths of their own")
		}
	}
	return nil
}
