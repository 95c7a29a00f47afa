package corpus

import "slices"

// rebuilt are legal MP4 files that ffmpeg does not write.
func (c *Clips) rebuilt() []Medium {
	one := func(name string, change func(*film)) Medium {
		m := c.mp4(name, Pass, change)
		m.Frames, m.Audio = 25, 1
		measured(&m)
		return m
	}
	list := []Medium{
		one("moov of a 64-bit size", func(f *film) { f.moov.wide = true }),
		one("media of zero size up to the end", func(f *film) { f.toTheEnd() }),
		one("wide and skip boxes first", func(f *film) { f.first(leaf("wide"), leaf("skip", zeros(300)), leaf("free", zeros(5000))) }),
		one("no ftyp", func(f *film) { f.before[0].kind = "free" }),
		one("unknown boxes everywhere", func(f *film) {
			f.after = leaf("zzzz", zeros(77)).bytes()
			f.moov.kids = append(f.moov.kids, leaf("\xa9\x00\xff ", []byte("x")))
			f.video.kids = append(f.video.kids, leaf("yyyy"))
		}),
		one("64-bit offsets", func(f *film) {
			for _, trak := range f.moov.traks() {
				b := trak.find("mdia/minf/stbl/stco")
				old := b.body[8:]
				b.kind, b.body = "co64", slices.Clone(b.body[:8])
				for i := 0; i < len(old); i += 4 {
					b.body = slices.Concat(b.body, be32(0), old[i:i+4])
				}
			}
		}),
		one("trailing zeros", func(f *film) { f.after = zeros(100_000) }),
		one("tracks in the other order", func(f *film) {
			i, j := slices.Index(f.moov.kids, f.video), slices.Index(f.moov.kids, f.sound)
			f.moov.kids[i], f.moov.kids[j] = f.sound, f.video
		}),

		one("data track of an unknown kind", func(f *film) {
			extra := f.sound.clone()
			extra.find("tkhd").put(12, be32(3)...)
			extra.find("mdia/hdlr").put(8, []byte("meta")...)
			extra.find("mdia/minf/stbl/stsd").kids = []*box{leaf("gpmd", zeros(6), be16(1))}
			f.moov.kids = append(f.moov.kids, extra)
		}),
	}
	// Pictures with B-frames begin two frames late then, and the first one stands.
	late := one("no edit list", func(f *film) { drop(f.video, "edts"); drop(f.sound, "edts") })
	late.Frames = 27
	unedited(&late)
	list = append(list, late)
	for _, key := range []string{"%03d.jpg", "-i.m3u8", "concat:a|b.mp4", "a b\"'`$(id)ü☃.mp4"} {
		m := one("object key "+key, func(*film) {})
		m.Key = key
		list = append(list, m)
	}
	return list
}

func drop(x *box, kind string) {
	x.kids = slices.DeleteFunc(x.kids, func(k *box) bool { return k.kind == kind })
}

// first puts boxes before all others and corrects the offsets.
func (f *film) first(boxes ...*box) {
	f.before = slices.Concat(boxes, f.before)
	f.move(uint32(len(writeBoxes(boxes))))
}

// toTheEnd puts the index before the media and says "up to the end" of these.
func (f *film) toTheEnd() {
	n := len(f.before) - 1
	media := f.before[n]
	f.before = f.before[:n]
	f.move(uint32(len(f.moov.bytes())))
	f.after = slices.Concat(be32(0), []byte(media.kind), media.body)
}

// move adds to every offset of media.
func (f *film) move(by uint32) {
	for _, trak := range f.moov.traks() {
		b := trak.find("mdia/minf/stbl/stco")
		for i := 8; i < len(b.body); i += 4 {
			v := uint32(b.body[i])<<24 | uint32(b.body[i+1])<<16 | uint32(b.body[i+2])<<8 | uint32(b.body[i+3])
			b.put(i, be32(v+by)...)
		}
	}
}
