package pipeline

import (
	"encoding/binary"
	"fmt"
)

// gifFrames counts the pictures of a GIF (GIF89a specification, 17 to 27) by its
// blocks. Nothing is decompressed: that would be the whole animation in memory.
func gifFrames(body []byte) (frames, width, height int, err error) {
	w := gifWalk{rest: body}
	w.take(6) // signature and version
	screen := w.take(7)
	if w.short {
		return 0, 0, 0, fmt.Errorf("%d bytes that are no GIF", len(body))
	}
	width, height = int(binary.LittleEndian.Uint16(screen)), int(binary.LittleEndian.Uint16(screen[2:]))
	w.table(screen[4])
	for {
		switch kind := w.byte(); {
		case w.short:
			return 0, 0, 0, fmt.Errorf("a GIF without its end")
		case kind == 0x21: // an extension: its label
			w.byte()
			w.blocks()
		case kind == 0x2c: // a picture
			if at := w.take(9); !w.short {
				w.table(at[8])
			}
			w.byte() // code size
			w.blocks()
			frames++
		case kind == 0x3b && frames > 0:
			return frames, width, height, nil
		default:
			return 0, 0, 0, fmt.Errorf("a GIF of %d pictures with a block %#x", frames, kind)
		}
	}
}

// gifWalk goes over the bytes of a GIF; short once they did not suffice.
type gifWalk struct {
	rest  []byte
	short bool
}

func (w *gifWalk) take(n int) []byte {
	if w.short = w.short || len(w.rest) < n; w.short {
		return nil
	}
	taken := w.rest[:n]
	w.rest = w.rest[n:]
	return taken
}

func (w *gifWalk) byte() byte {
	if b := w.take(1); b != nil {
		return b[0]
	}
	return 0
}

// table steps over a colour table, when the flags say that there is one.
func (w *gifWalk) table(flags byte) {
	if flags&0x80 != 0 {
		w.take(3 << (flags&7 + 1))
	}
}

// blocks steps over data sub-blocks, until the empty one.
func (w *gifWalk) blocks() {
	for n := w.byte(); n > 0; n = w.byte() {
		w.take(int(n))
	}
}
