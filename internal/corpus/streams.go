package corpus

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"
)

// streams are the other containers, with what is dear in them overwritten.
func (c *Clips) streams() []Medium {
	unread := "source_unreadable|source_no_video|source_truncated|source_unsupported"
	patch := func(name, key, want string, body []byte, marker string, off int, value ...byte) Medium {
		i := bytes.Index(body, []byte(marker))
		if i < 0 {
			panic("the clip of " + name + " lacks its marker")
		}
		body = bytes.Clone(body)
		copy(body[i+off:], value)
		return Medium{Name: name, Key: key, Body: body, Want: want, Audio: -1}
	}
	ones := []byte{0xff, 0xff, 0xff, 0xff}
	huge := binary.LittleEndian.AppendUint32(nil, math.MaxInt32)
	sof := "\xff\xc0\x00\x11\x08" // of a JPEG picture: then height and width
	return []Medium{
		patch("AVI of 65535 streams", "bad.avi", Pass, c.AVI, "avih", 8+24, ones...),
		patch("AVI of zero microseconds a frame", "bad.avi", Pass, c.AVI, "avih", 8, 0, 0, 0, 0),
		patch("AVI of rate zero", "bad.avi", Pass, c.AVI, "strh", 8+24, 0, 0, 0, 0),
		patch("AVI of scale zero", "bad.avi", Pass, c.AVI, "strh", 8+20, 0, 0, 0, 0),
		patch("AVI of two thousand million frames", "bad.avi", "source_unsupported", c.AVI, "strh", 8+32, huge...),
		patch("AVI of a header list without end", "bad.avi", Pass, c.AVI, "hdrl", -4, ones...),
		patch("AVI of a picture of two thousand million pixels", "bad.avi", Pass, c.AVI, "strf", 8+4, huge...),
		patch("AVI of an index without end", "bad.avi", Pass, c.AVI, "idx1", 4, huge...),
		patch("AVI of sound at two thousand million Hz", "bad.avi", Pass, c.AVI, "auds", 0, 'a', 'u', 'd', 's'),
		everywhere("JPEG pictures of 65535×65535", "bad.avi", unread, c.AVI, sof, ones),
		everywhere("JPEG pictures of 16000×16000", "bad.avi", unread, c.AVI, sof, slices.Concat(be16(16000), be16(16000))),
		everywhere("JPEG pictures of no height", "bad.avi", unread, c.AVI, sof, []byte{0, 0}),
		everywhere("JPEG pictures of one row", "bad.avi", "source_unsupported", c.AVI, sof, []byte{0, 1}),

		{Name: "transport stream without tables", Key: "bad.ts", Body: c.TS[3*188:], Want: Pass, Audio: -1},
		{Name: "transport stream that loses step", Key: "bad.ts", Body: slices.Concat(c.TS[:20*188], []byte("lost"), c.TS[20*188:]), Want: Pass, Audio: -1},
		{Name: "transport stream twice, a day apart", Key: "bad.ts", Body: slices.Concat(c.TS, shifted(c.TS)), Want: "source_truncated", Audio: -1},
		{Name: "transport stream of sync bytes", Key: "bad.ts", Body: bytes.Repeat(append([]byte("G"), make([]byte, 187)...), 400), Want: unread},
		{Name: "transport stream of empty packets", Key: "bad.ts", Body: bytes.Repeat(append([]byte("G\x1f\xff\x10"), bytes.Repeat([]byte{0xff}, 184)...), 400), Want: unread},
		{Name: "transport stream of a thousand programs", Key: "bad.ts", Body: programs(), Want: unread},
		{Name: "transport stream in reverse", Key: "bad.ts", Body: reversed(c.TS, 188), Want: "encode_failed|" + unread, Audio: -1},

		patch("FLV of a tag without end", "bad.flv", "source_unreadable", c.FLV, "FLV", 14, 0xff, 0xff, 0xff),
		patch("FLV of a header of two thousand million bytes", "bad.flv", unread, c.FLV, "FLV", 5, 0x7f, 0xff, 0xff, 0xff),
		patch("FLV of NaN duration", "bad.flv", Pass, c.FLV, "duration", 9, 0x7f, 0xf8, 0, 0, 0, 0, 0, 1),
		patch("FLV of metadata in a circle", "bad.flv", Pass, c.FLV, "onMetaData", 10, 3),
		patch("Ogg of a wrong checksum", "bad.ogg", "source_no_video", c.Ogg, "OggS", 22, 1, 2, 3, 4),
		patch("Ogg of another version", "bad.ogg", "source_no_video", c.Ogg, "OggS", 4, 9),
		everywhere("Ogg at the end of time", "bad.ogg", "source_unreadable", c.Ogg, "OggS\x00\x00", bytes.Repeat([]byte{0x7f}, 8)),
		patch("Theora of no frame rate", "bad.ogg", unread+"|"+Pass, c.Ogg, "\x80theora", 22, 0, 0, 0, 0, 0, 0, 0, 0),
		patch("Theora of a million pixels a line", "bad.ogg", "source_no_video", c.Ogg, "\x80theora", 10, 0xff, 0xff, 0xff, 0xff),
		patch("ASF of a header without end", "bad.asf", Pass, c.ASF, "\x30\x26\xb2\x75", 16, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f),
		patch("ASF of four thousand million objects", "bad.asf", Pass, c.ASF, "\x30\x26\xb2\x75", 24, ones...),
		patch("ASF of packets of no bytes", "bad.asf", "source_truncated", c.ASF, "\xa1\xdc\xab\x8c\x47\xa9", 24+64+4, 0, 0, 0, 0, 0, 0, 0, 0),
		patch("MXF of a set of 2^63 bytes", "bad.mxf", Pass, c.MXF, "\x06\x0e\x2b\x34\x02\x53", 16, 0x88, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff),
		patch("MXF whose footer is its header", "bad.mxf", Pass, c.MXF, "\x06\x0e\x2b\x34\x02\x05\x01\x01", 20+24, 0, 0, 0, 0, 0, 0, 0, 0),
		patch("program stream of a packet without end", "bad.mpg", "source_no_video", c.PS, "\x00\x00\x01\xe0", 4, 0xff, 0xff),
		everywhere("program stream of a frame rate that is forbidden", "bad.mpg", Pass, c.PS, "\x00\x00\x01\xb3\x0a\x00\x5a", []byte{0x10}),
	}
}

// everywhere overwrites what follows each place of a marker.
func everywhere(name, key, want string, body []byte, marker string, value []byte) Medium {
	body = bytes.Clone(body)
	found := false
	for at := 0; ; {
		i := bytes.Index(body[at:], []byte(marker))
		if i < 0 {
			break
		}
		at += i + len(marker)
		found = true
		copy(body[at:], value)
	}
	if !found {
		panic("the clip of " + name + " lacks its marker")
	}
	return Medium{Name: name, Key: key, Body: body, Want: want, Audio: -1}
}

// shifted moves the clock of a transport stream's pictures and sound by hours.
func shifted(ts []byte) []byte {
	ts = bytes.Clone(ts)
	for at := 0; ; at += 10 {
		i := bytes.Index(ts[at:], []byte{0, 0, 1})
		if i < 0 || at+i+14 > len(ts) {
			return ts
		}
		at += i
		if kind := ts[at+3]; kind&0xe0 == 0xc0 && ts[at+7]&0x80 != 0 { // a PES packet with a PTS
			ts[at+9] |= 0x0e
		}
	}
}

func reversed(b []byte, size int) []byte {
	var out []byte
	for end := len(b) / size * size; end > 0; end -= size {
		out = append(out, b[end-size:end]...)
	}
	return out
}

// programs is a transport stream of tables that name programs without end.
func programs() []byte {
	var out []byte
	for n := range 30 {
		packet := []byte{'G', 0x40, 0, 0x10 | byte(n&15), 0, 0, 0xb0, 0xb1, 0, 1, 0xc1, byte(n), 0xff}
		for p := range 40 {
			packet = append(packet, be16(uint16(n*40+p+1))...)
			packet = append(packet, be16(0xe000|uint16(n*40+p+32)&0x1fff)...)
		}
		out = append(out, append(packet, bytes.Repeat([]byte{0xff}, 188-len(packet))...)...)
	}
	return out
}
