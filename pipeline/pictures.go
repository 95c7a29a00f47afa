package pipeline

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"slices"
	"sync"

	"github.com/Eyevinn/mp4ff/avc"
)

// gopDigests hashes the coded pictures of a video stream, closed GOP by closed
// GOP: of each picture the slices as they are (ITU-T H.264, 7.3.1, NAL unit
// types 1 to 5), without what containers may add or drop (parameter sets,
// SEI, delimiters). So the same pictures have the same digests in fragmented
// MP4 and in MPEG-TS. It is safe for one writer and any number of readers.
type gopDigests struct {
	codec string // empty: h264
	mu    sync.Mutex
	gop   hash.Hash
	done  [][sha256.Size]byte
}

// slice takes one NAL unit without its length or start code.
func (d *gopDigests) slice(nal []byte) error {
	if len(nal) < 2 || d.codec == CodecHEVC && len(nal) < 3 {
		return fmt.Errorf("NAL unit of %d bytes", len(nal))
	}
	if d.codec == CodecHEVC {
		// ITU-T H.265, 7.3.1.2 and table 7-1: types below 32 are slices, 19 and
		// 20 of IDR pictures; first_slice_segment_in_pic_flag is the first bit.
		kind := nal[0] >> 1 & 0x3f
		if kind >= 32 {
			return nil
		}
		return d.add(nal, (kind == 19 || kind == 20) && nal[2]&0x80 != 0)
	}
	kind := avc.GetNaluType(nal[0])
	if !avc.IsVideoNaluType(kind) {
		return nil
	}
	// first_mb_in_slice is 0, coded as a single 1 bit: the picture's first slice.
	return d.add(nal, kind == avc.NALU_IDR && nal[1]&0x80 != 0)
}

// add takes a part of a picture; begins: it is the first of a closed GOP.
func (d *gopDigests) add(nal []byte, begins bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if begins {
		d.close()
		d.gop = sha256.New()
	}
	if d.gop == nil {
		return fmt.Errorf("the pictures do not begin with a key picture")
	}
	var size [4]byte
	binary.BigEndian.PutUint32(size[:], uint32(len(nal)))
	d.gop.Write(size[:])
	d.gop.Write(nal)
	return nil
}

// close ends the GOP that is being gathered.
func (d *gopDigests) close() {
	if d.gop != nil {
		d.done = append(d.done, [sha256.Size]byte(d.gop.Sum(nil)))
		d.gop = nil
	}
}

// list returns the digests so far, the last one of what has come of its GOP.
func (d *gopDigests) list() [][sha256.Size]byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := d.done[:len(d.done):len(d.done)]
	if d.gop != nil {
		all = append(all, [sha256.Size]byte(d.gop.Sum(nil)))
	}
	return all
}

// samples takes the content of an mdat box.
func (d *gopDigests) samples(data []byte) error {
	if d.codec == CodecAV1 {
		return d.obus(data)
	}
	return d.lengthPrefixed(data)
}

// obus takes AV1 samples, one after the other (AV1 Codec ISO Media File Format
// Binding, 2.4; AV1 Bitstream, 5.3): every OBU has its size. The encoder
// writes a sequence header (type 1) before each key frame and nowhere else.
func (d *gopDigests) obus(data []byte) error {
	for len(data) > 0 {
		head, kind := 1, data[0]>>3&15
		if data[0]&4 != 0 {
			head++ // the extension
		}
		if data[0]&2 == 0 || len(data) < head {
			return fmt.Errorf("an OBU without its size")
		}
		size, n := binary.Uvarint(data[head:]) // leb128, AV1 Bitstream, 4.10.5
		if n <= 0 || size > uint64(len(data)-head-n) {
			return fmt.Errorf("an OBU of %d bytes, %d are there", size, len(data))
		}
		end := head + n + int(size)
		switch kind {
		case 1, 3, 4, 6, 7: // sequence header, frame headers, tiles
			if err := d.add(data[:end], kind == 1); err != nil {
				return err
			}
		}
		data = data[end:]
	}
	return nil
}

// lengthPrefixed takes samples as MP4 stores them (ISO/IEC 14496-15, 5.3.2),
// one after the other, with lengths of four bytes.
func (d *gopDigests) lengthPrefixed(samples []byte) error {
	for len(samples) > 0 {
		if len(samples) < 4 {
			return fmt.Errorf("a sample ends in its length")
		}
		n := int64(binary.BigEndian.Uint32(samples))
		if samples = samples[4:]; n > int64(len(samples)) {
			return fmt.Errorf("NAL unit of %d bytes, %d are there", n, len(samples))
		}
		if err := d.slice(samples[:n]); err != nil {
			return err
		}
		samples = samples[n:]
	}
	return nil
}

// segmentDigests returns the digests of the GOPs in a clear segment.
func segmentDigests(output, codec string, segment []byte) ([][sha256.Size]byte, error) {
	d := gopDigests{codec: codec}
	if formats[output].container == containerTS {
		stream := make([]byte, 0, len(segment))
		if _, err := tsPictures(segment, func(part []byte) { stream = append(stream, part...) }); err != nil {
			return nil, err
		}
		for _, nal := range avc.ExtractNalusFromByteStream(stream) {
			if err := d.slice(nal); err != nil {
				return nil, err
			}
		}
		return d.list(), nil
	}
	scan := boxScanner{withMedia: true, onBox: func(kind string, box []byte) error {
		if kind != "mdat" {
			return nil
		}
		return d.samples(box)
	}}
	if _, err := scan.Write(segment); err != nil {
		return nil, err
	}
	return d.list(), nil
}

// compareGOPs wants some GOPs, and those that were made from number first on.
func compareGOPs(got, made [][sha256.Size]byte, first int) error {
	if len(got) == 0 || first+len(got) > len(made) || !slices.Equal(got, made[first:first+len(got)]) {
		return fmt.Errorf("the pictures of %d key frame distances are not those that the encoder made", len(got))
	}
	return nil
}

// tsPictures shows the elementary video stream of a clear MPEG-TS segment,
// part by part, and counts its pictures: the packager writes one PES packet
// per picture (ISO/IEC 13818-1, 2.4.3).
func tsPictures(segment []byte, show func(part []byte)) (pictures int64, err error) {
	const packet = 188
	if len(segment) == 0 || len(segment)%packet != 0 {
		return 0, fmt.Errorf("ts segment of %d bytes", len(segment))
	}
	pid := -1
	for p := segment; len(p) > 0; p = p[packet:] {
		if p[0] != 0x47 {
			return 0, fmt.Errorf("ts segment out of sync")
		}
		payload := p[4:packet]
		if control := p[3] >> 4 & 3; control&1 == 0 {
			continue
		} else if control&2 != 0 {
			if int(p[4])+1 > len(payload) {
				return 0, fmt.Errorf("ts packet with an adaptation field of %d bytes", p[4])
			}
			payload = payload[1+int(p[4]):]
		}
		this := int(p[1]&0x1f)<<8 | int(p[2])
		if p[1]&0x40 == 0 { // the packet goes on
			if this == pid {
				show(payload)
			}
			continue
		}
		if len(payload) < 9 || payload[0] != 0 || payload[1] != 0 || payload[2] != 1 || payload[3]&0xf0 != 0xe0 {
			continue
		}
		head := 9 + int(payload[8])
		if head > len(payload) || pid >= 0 && this != pid {
			return 0, fmt.Errorf("ts segment with a bad PES header or two video streams")
		}
		pid = this
		pictures++
		show(payload[head:])
	}
	return pictures, nil
}
