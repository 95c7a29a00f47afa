package browsertest

import (
	"encoding/binary"
	"fmt"
	"os"
	"time"
)

// Sound is what a WAVE file of one tone has.
type Sound struct {
	Length time.Duration
	Hertz  float64
}

// ReadSound reads a WAVE file of samples with a sign bit (16 bits and more,
// integers or floats) and counts how often the first channel passes zero. A
// length that the header does not know, for it was written to a pipe, is that
// of the file.
func ReadSound(path string) (Sound, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Sound{}, err
	}
	if len(data) < 12 || string(data[:4]) != "RIFF" || string(data[8:12]) != "WAVE" {
		return Sound{}, fmt.Errorf("%s: no WAVE file", path)
	}
	var channels, rate, width int
	for at := 12; at+8 <= len(data); {
		name, size := string(data[at:at+4]), int(binary.LittleEndian.Uint32(data[at+4:]))
		at += 8
		body := data[at:min(len(data), at+size)]
		switch {
		case name == "fmt " && len(body) >= 16:
			channels, rate, width = int(binary.LittleEndian.Uint16(body[2:])), int(binary.LittleEndian.Uint32(body[4:])), int(binary.LittleEndian.Uint16(body[14:]))/8
		case name == "data" && channels > 0 && rate > 0 && width >= 2:
			if size == 0 {
				body = data[at:]
			}
			return tone(body, channels*width, width, rate), nil
		}
		at += size + size%2
	}
	return Sound{}, fmt.Errorf("%s: no sound in it", path)
}

// tone looks at the sign of each first sample: the top bit of its last byte.
func tone(data []byte, frame, width, rate int) Sound {
	n, passes, below := 0, 0, false
	for at := 0; at+frame <= len(data); at += frame {
		negative := data[at+width-1]&0x80 != 0
		if below && !negative {
			passes++
		}
		below = negative
		n++
	}
	if n == 0 {
		return Sound{}
	}
	return Sound{time.Duration(n) * time.Second / time.Duration(rate), float64(passes) * float64(rate) / float64(n)}
}
