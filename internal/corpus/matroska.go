package corpus

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/bits"
	"slices"
)

// element is a child of Matroska's Segment (RFC 9559), its id with the marker bit.
type element struct {
	id   uint32
	body []byte
}

const (
	idSegment     = 0x18538067
	idInfo        = 0x1549a966
	idTracks      = 0x1654ae6b
	idTrackEntry  = 0xae
	idCluster     = 0x1f43b675
	idTags        = 0x1254c367
	idSeekHead    = 0x114d9b74
	idChapters    = 0x1043a770
	idAttachments = 0x1941a469
	idCues        = 0x1c53bb6b
)

func ebml(id uint32, parts ...[]byte) []byte {
	body := slices.Concat(parts...)
	return slices.Concat(ebmlID(id), be64(1<<56|uint64(len(body))), body)
}

func ebmlID(id uint32) []byte { return be32(id)[bits.LeadingZeros32(id)/8:] }

// parseElements reads elements one after the other.
func parseElements(b []byte) []element {
	var out []element
	for len(b) > 0 {
		n := bits.LeadingZeros8(b[0]) + 1
		var id uint32
		for _, c := range b[:n] {
			id = id<<8 | uint32(c)
		}
		b = b[n:]
		n = bits.LeadingZeros8(b[0]) + 1
		size := uint64(b[0]) & (1<<(8-n) - 1)
		for _, c := range b[1:n] {
			size = size<<8 | uint64(c)
		}
		b = b[n:]
		out = append(out, element{id, b[:size]})
		b = b[size:]
	}
	return out
}

// mkv takes the clip apart and puts it together again, changed, in a Segment of
// unknown size.
func (c *Clips) mkv(name, want string, change func([]element) []element) Medium {
	top := parseElements(c.MKV)
	body := ebml(0x1a45dfa3, top[0].body)
	body = append(append(body, ebmlID(idSegment)...), be64(1<<56-1|1<<56)...)
	for _, e := range change(parseElements(top[1].body)) {
		body = append(body, ebml(e.id, e.body)...)
	}
	return Medium{Name: name, Key: "bad.mkv", Body: body, Want: want, Audio: -1}
}

// with changes the one child that has the id.
func with(id uint32, change func([]byte) []byte) func([]element) []element {
	return func(list []element) []element {
		list = slices.Clone(list)
		for i, e := range list {
			if e.id == id {
				list[i].body = change(bytes.Clone(e.body))
			}
		}
		return list
	}
}

// plus adds an element behind the tracks.
func plus(id uint32, body []byte) func([]element) []element {
	return func(list []element) []element {
		i := slices.IndexFunc(list, func(e element) bool { return e.id == idTracks })
		return slices.Insert(slices.Clone(list), i+1, element{id, body})
	}
}

// set replaces the value of a child, and of all its namesakes further down, in
// a body; absent ones are added at the end.
func set(id uint32, value []byte) func([]byte) []byte {
	return func(body []byte) []byte {
		var out []byte
		found := false
		for _, e := range parseElements(body) {
			if e.id == id {
				e.body, found = value, true
			}
			out = append(out, ebml(e.id, e.body)...)
		}
		if !found {
			out = append(out, ebml(id, value)...)
		}
		return out
	}
}

// tracks changes every TrackEntry.
func tracks(change func([]byte) []byte) func([]element) []element {
	return with(idTracks, func(body []byte) []byte {
		var out []byte
		for _, e := range parseElements(body) {
			if e.id == idTrackEntry {
				e.body = change(e.body)
			}
			out = append(out, ebml(e.id, e.body)...)
		}
		return out
	})
}

// inner changes the children of an id.
func inner(id uint32, change func([]byte) []byte) func([]byte) []byte {
	return func(body []byte) []byte {
		var out []byte
		for _, e := range parseElements(body) {
			if e.id == id {
				e.body = change(e.body)
			}
			out = append(out, ebml(e.id, e.body)...)
		}
		return out
	}
}

func float(f float64) []byte { return binary.BigEndian.AppendUint64(nil, math.Float64bits(f)) }

// matroskas are Matroska files that point elsewhere, promise too much or make
// no sense.
func (c *Clips) matroskas(can Canary) []Medium {
	const (
		idDuration, idScale        = 0x4489, 0x2ad7b1
		idVideo, idAudio           = 0xe0, 0xe1
		idWidth, idHeight, idRate  = 0xb0, 0xba, 0xb5
		idNextUID, idNextFile      = 0x3eb923, 0x3e83bb
		idPrevUID, idPrevFile      = 0x3cb923, 0x3c83ab
		idCodecID, idPrivate       = 0x86, 0x63a2
		idEncodings, idFrameLength = 0x6d80, 0x23e383
		idTimestamp                = 0xe7
	)
	one := c.mkv
	info := func(id uint32, v []byte) func([]element) []element { return with(idInfo, set(id, v)) }
	vid := func(id uint32, v []byte) func([]element) []element { return tracks(inner(idVideo, set(id, v))) }
	attached := ebml(0x61a7, ebml(0x466e, []byte("../../../"+can.File)), ebml(0x4660, []byte("application/x-truetype-font")), ebml(0x465c, []byte("#EXTM3U\n"+can.URL)), ebml(0x46ae, []byte{9}))
	deep := ebml(0x67c8)
	for range 500 {
		deep = ebml(0x67c8, deep)
	}
	encoding := func(kids ...[]byte) []byte { return ebml(0x6240, slices.Concat(kids...)) }
	unread := "source_unreadable|source_truncated|source_no_video|source_unsupported"
	return []Medium{
		one("Matroska with an attachment", Pass, plus(idAttachments, attached)),
		one("Matroska that links to another segment", Pass, with(idInfo, func(b []byte) []byte {
			uid := bytes.Repeat([]byte{7}, 16)
			return set(idPrevFile, []byte(can.File))(set(idNextFile, []byte(can.URL+"/next.mkv"))(set(idPrevUID, uid)(set(idNextUID, uid)(b))))
		})),
		one("Matroska with ordered chapters of another segment", Pass, plus(idChapters, ebml(0x45b9, ebml(0x45dd, []byte{1}),
			ebml(0xb6, ebml(0x73c4, []byte{1}), ebml(0x91, []byte{0}), ebml(0x92, be64(1e9)), ebml(0x6e67, bytes.Repeat([]byte{7}, 16)))))),
		one("Matroska of NaN duration", Pass, info(idDuration, float(math.NaN()))),
		one("Matroska of endless duration", Pass, info(idDuration, float(math.Inf(1)))),
		one("Matroska of negative duration", Pass, info(idDuration, float(-1000))),
		one("Matroska of 1e300 duration", Pass, info(idDuration, float(1e300))),
		one("Matroska of duration in three bytes", Pass, info(idDuration, []byte{1, 2, 3})),
		one("Matroska of timestamp scale zero", Pass, info(idScale, []byte{0})),
		one("Matroska of a huge timestamp scale", "source_unreadable", info(idScale, be64(1<<62))),
		one("Matroska of sample rate NaN", Pass, tracks(inner(idAudio, set(idRate, float(math.NaN()))))),
		one("Matroska of sample rate 1e30", Pass, tracks(inner(idAudio, set(idRate, float(1e30))))),
		one("Matroska of sample rate zero", Pass, tracks(inner(idAudio, set(idRate, float(0))))),
		one("Matroska of 255 channels", Pass, tracks(inner(idAudio, set(0x9f, []byte{255})))),
		one("Matroska of four thousand million pixels", Pass, vid(idWidth, be32(math.MaxUint32))),
		one("Matroska of no height", Pass, vid(idHeight, []byte{0})),
		one("Matroska of an endless crop", Pass, vid(0x54aa, be32(math.MaxUint32))),
		one("Matroska of a turning projection", Pass, vid(0x7670, slices.Concat(ebml(0x7671, []byte{0}), ebml(0x7675, float(math.NaN()))))),
		one("Matroska of display size zero", Pass, vid(0x54b0, []byte{0})),
		one("Matroska of frame length zero", Pass, tracks(set(idFrameLength, []byte{0}))),
		one("Matroska of frame length 1 ns", Pass, tracks(set(idFrameLength, []byte{1}))),
		one("Matroska of an unknown codec", unread, tracks(set(idCodecID, []byte("V_EVIL/"+can.File)))),
		one("Matroska of a Windows codec without its header", unread, tracks(set(idCodecID, []byte("V_MS/VFW/FOURCC")))),
		one("Matroska of raw pictures", unread, tracks(set(idCodecID, []byte("V_UNCOMPRESSED")))),
		one("Matroska without parameter sets", unread, tracks(set(idPrivate, nil))),
		one("Matroska that is encrypted", Pass, tracks(set(idEncodings, encoding(ebml(0x5033, []byte{1}), ebml(0x5035, ebml(0x47e1, []byte{5})))))),
		one("Matroska compressed by an unknown method", Pass+"|"+unread, tracks(set(idEncodings, encoding(ebml(0x5034, ebml(0x4254, []byte{9})))))),
		one("Matroska that says zlib and is not", unread, tracks(set(idEncodings, encoding(ebml(0x5034, ebml(0x4254, []byte{0})))))),
		one("Matroska with tags in tags in tags", Pass, plus(idTags, ebml(0x7373, deep))),
		one("Matroska with a thousand tracks", "source_unreadable", with(idTracks, func(b []byte) []byte { return bytes.Repeat(b, 500) })),
		one("Matroska whose seek head seeks itself", Pass, func(list []element) []element {
			loop := ebml(0x4dbb, ebml(0x53ab, ebmlID(idSeekHead)), ebml(0x53ac, []byte{0}))
			return slices.Insert(slices.Clone(list), 0, element{idSeekHead, bytes.Repeat(loop, 50)})
		}),
		one("Matroska of clusters at the end of time", unread+"|"+Pass, with(idCluster, set(idTimestamp, be64(1<<63-1)))),
		one("Matroska of a cluster that is 40 days late", Any, func(list []element) []element {
			i := slices.IndexFunc(list, func(e element) bool { return e.id == idCluster })
			late := element{idCluster, set(idTimestamp, be64(40*24*3600*1000))(list[i].body)}
			return append(slices.Clone(list), late)
		}),
		one("Matroska without tracks", "source_no_video|source_unreadable", func(list []element) []element {
			return slices.DeleteFunc(slices.Clone(list), func(e element) bool { return e.id == idTracks })
		}),
		one("Matroska of tracks after the clusters", "source_no_video", func(list []element) []element {
			i := slices.IndexFunc(list, func(e element) bool { return e.id == idTracks })
			return append(slices.Delete(slices.Clone(list), i, i+1), list[i])
		}),
		{Name: "Matroska of an unknown document type", Key: "bad.mkv", Body: bytes.Replace(c.MKV, []byte("matroska"), []byte("evilroka"), 1), Want: Pass, Audio: -1},
		{Name: "Matroska of a header without end", Key: "bad.mkv", Body: slices.Concat([]byte{0x1a, 0x45, 0xdf, 0xa3}, bytes.Repeat([]byte{0xff}, 4000)), Want: "source_unreadable"},
		{Name: "Matroska element of 2^56 bytes", Key: "bad.mkv", Body: slices.Concat(c.MKV[:48], []byte{0xec, 0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe}, c.MKV[48:]), Want: Pass, Audio: -1},
	}
}
