package corpus

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
)

// box is a box of an MP4 file (ISO/IEC 14496-12). Boxes of boxes have kids and,
// before them, a head; the others a body.
type box struct {
	kind  string
	head  []byte
	body  []byte
	kids  []*box
	wide  bool   // with a 64-bit size
	claim uint32 // the size that it claims; 0: the true one
}

// heads are the boxes that hold boxes, with the bytes before these.
var heads = map[string]int{
	"moov": 0, "trak": 0, "mdia": 0, "minf": 0, "stbl": 0, "edts": 0, "dinf": 0, "udta": 0, "mvex": 0, "moof": 0, "traf": 0,
	"dref": 8, "stsd": 8, "avc1": 78, "mp4a": 28,
}

func parseBoxes(b []byte) []*box {
	var out []*box
	for len(b) >= 8 {
		size := int(binary.BigEndian.Uint32(b))
		if size < 8 || size > len(b) {
			panic("the clip has a box that this parser does not know")
		}
		x := &box{kind: string(b[4:8]), body: bytes.Clone(b[8:size])}
		if n, ok := heads[x.kind]; ok {
			x.head, x.kids, x.body = x.body[:n], parseBoxes(x.body[n:]), nil
		}
		out, b = append(out, x), b[size:]
	}
	return out
}

func (x *box) bytes() []byte {
	content := slices.Concat(x.head, x.body, writeBoxes(x.kids))
	if x.wide {
		return slices.Concat(be32(1), []byte(x.kind), be64(uint64(len(content)+16)), content)
	}
	size := uint32(len(content) + 8)
	if x.claim != 0 {
		size = x.claim
	}
	return slices.Concat(be32(size), []byte(x.kind), content)
}

func writeBoxes(list []*box) []byte {
	var out []byte
	for _, x := range list {
		out = append(out, x.bytes()...)
	}
	return out
}

// find walks to the first box of a path such as "trak/mdia".
func (x *box) find(path string) *box {
	for kind := range strings.SplitSeq(path, "/") {
		i := slices.IndexFunc(x.kids, func(k *box) bool { return k.kind == kind })
		if i < 0 {
			panic("the clip has no box " + path)
		}
		x = x.kids[i]
	}
	return x
}

// traks are the tracks of a moov box: the picture, then the sound.
func (x *box) traks() []*box {
	var out []*box
	for _, k := range x.kids {
		if k.kind == "trak" {
			out = append(out, k)
		}
	}
	return out
}

func (x *box) clone() *box {
	c := *x
	c.head, c.body, c.kids = bytes.Clone(x.head), bytes.Clone(x.body), nil
	for _, k := range x.kids {
		c.kids = append(c.kids, k.clone())
	}
	return &c
}

// put overwrites bytes of the body.
func (x *box) put(off int, b ...byte) { copy(x.body[off:], b) }

func leaf(kind string, parts ...[]byte) *box { return &box{kind: kind, body: slices.Concat(parts...)} }

func be16(v uint16) []byte { return binary.BigEndian.AppendUint16(nil, v) }
func be32(v uint32) []byte { return binary.BigEndian.AppendUint32(nil, v) }
func be64(v uint64) []byte { return binary.BigEndian.AppendUint64(nil, v) }

// words32 writes numbers one after the other.
func words32(vs ...uint32) []byte {
	var out []byte
	for _, v := range vs {
		out = append(out, be32(v)...)
	}
	return out
}
