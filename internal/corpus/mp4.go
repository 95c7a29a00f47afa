package corpus

import (
	"bytes"
	"compress/zlib"
	"math"
	"slices"
)

// film is the MP4 clip taken apart. Its index stands behind the media, so that
// no change of the index moves a byte of them.
type film struct {
	before       []*box // ftyp, free, mdat
	moov         *box
	video, sound *box // trak
	after        []byte
}

func (c *Clips) film() *film {
	boxes := parseBoxes(c.MP4)
	f := &film{before: boxes[:len(boxes)-1], moov: boxes[len(boxes)-1]}
	f.video, f.sound = f.moov.traks()[0], f.moov.traks()[1]
	return f
}

func (f *film) bytes() []byte {
	return slices.Concat(writeBoxes(f.before), f.moov.bytes(), f.after)
}

// table gives a box of the picture's sample table.
func (f *film) table(kind string) *box { return f.video.find("mdia/minf/stbl/" + kind) }

// alone leaves the picture as the only track.
func (f *film) alone() {
	f.moov.kids = slices.DeleteFunc(f.moov.kids, func(k *box) bool { return k == f.sound })
}

// edits replaces the picture's edit list.
func (f *film) edits(entries ...uint32) {
	list := leaf("elst", words32(0, uint32(len(entries)/3)), words32(entries...))
	f.video.find("edts").kids = []*box{list}
}

// cut edits picture and sound alike: pairs of how long and from when, in
// milliseconds. The picture's clock has 12,800 ticks a second and begins two
// frames late, the sound's has 48,000 and begins with 1,024 samples of priming.
func (f *film) cut(pairs ...uint32) {
	tracks := []struct {
		trak       *box
		ticks, lag uint32
	}{{f.video, 12800, 1024}, {f.sound, 48000, 1024}}
	for _, t := range tracks {
		entries := words32(0, uint32(len(pairs)/2))
		for i := 0; i < len(pairs); i += 2 {
			entries = append(entries, words32(pairs[i], t.lag+pairs[i+1]*t.ticks/1000, 1<<16)...)
		}
		t.trak.find("edts").kids = []*box{leaf("elst", entries)}
	}
}

// mp4 is one case: the clip, changed.
func (c *Clips) mp4(name, want string, change func(*film)) Medium {
	f := c.film()
	change(f)
	m := Medium{Name: name, Body: f.bytes(), Want: want, Audio: -1}
	return m
}

// references are MP4 files that point outside themselves. Where they pass, the
// reference was not followed: the media are in the file.
func (c *Clips) references(can Canary) []Medium {
	dref := func(kind string, flags uint32, text string) func(*film) {
		return func(f *film) {
			for _, trak := range f.moov.traks() {
				trak.find("mdia/minf/dinf/dref").kids = []*box{leaf(kind, be32(flags), []byte(text))}
			}
		}
	}
	// A QuickTime movie of nothing but a reference to another one.
	reference := func(kind, where string) Medium {
		rdrf := leaf("rdrf", be32(0), []byte(kind), be32(uint32(len(where)+1)), []byte(where), []byte{0})
		moov := &box{kind: "moov", kids: []*box{{kind: "rmra", body: leaf("rmda", rdrf.bytes()).bytes()}}}
		return Medium{
			Name: "reference movie by " + kind + " to " + where[:4], Key: "bad.mov", Want: "source_unreadable|source_no_video",
			Body: slices.Concat(leaf("ftyp", []byte("qt  "), be32(0), []byte("qt  ")).bytes(), moov.bytes()),
		}
	}
	return []Medium{
		c.mp4("data reference to http", Pass, dref("url ", 0, can.URL+"/dref.mp4\x00")),
		c.mp4("data reference to a file", Pass, dref("url ", 0, "file://"+can.File+"\x00")),
		c.mp4("data reference to a path", Pass, dref("url ", 0, can.File+"\x00")),
		c.mp4("data reference by name", Pass, dref("urn ", 0, "urn:x\x00"+can.URL+"/urn.mp4\x00")),
		c.mp4("data reference by alias", "source_truncated|source_unreadable|source_no_video", dref("alis", 0, alias(can.File))),
		c.mp4("data reference that says both", Pass, dref("url ", 1, can.URL+"/both.mp4\x00")),
		reference("url ", can.URL+"/ref.mov"),
		reference("url ", "file://"+can.File),
		reference("alis", alias(can.File)),
		c.mp4("metadata with an entity", Pass, func(f *film) {
			f.after = leaf("uuid", []byte("\xbe\x7a\xcf\xcb\x97\xa9\x42\xe8\x9c\x71\x99\x94\x91\xe3\xaf\xac"),
				[]byte(`<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e SYSTEM "file://`+can.File+`">]><x>&e;</x>`)).bytes()
		}),
		c.mp4("subtitle track of another file", Pass, func(f *film) {
			extra := f.sound.clone()
			extra.find("mdia/minf/dinf/dref").kids = []*box{leaf("url ", be32(0), []byte(can.URL+"/sub.mp4\x00"))}
			extra.find("mdia/hdlr").put(8, []byte("sbtl")...)
			f.moov.kids = append(f.moov.kids, extra)
		}),
	}
}

// alias is a Macintosh alias record that names a file by its absolute path
// (QuickTime File Format, data references).
func alias(path string) string {
	record := make([]byte, 150)
	record[131], record[133] = 1, 1 // levels from the alias and to the target
	if len(path)%2 != 0 {
		path += "\x00"
	}
	return string(slices.Concat(record, be16(2), be16(uint16(len(path))), []byte(path), be16(0xffff), be16(0)))
}

const big = 1_000_000_000

// bombs are MP4 files whose index promises too much, or makes no sense.
func (c *Clips) bombs() []Medium {
	garbage := "source_unreadable|source_truncated|source_no_video|source_unsupported"
	one := func(name, want string, change func(*film)) Medium { return c.mp4(name, want, change) }
	return []Medium{
		one("stts of a thousand million samples", "source_truncated", func(f *film) { f.table("stts").body = words32(0, 1, big, 1) }),
		one("stts that claims entries which are not there", "source_unreadable", func(f *film) { f.table("stts").put(4, 0xff, 0xff, 0xff, 0xff) }),
		one("stts with a gap of days", "source_unsupported|source_truncated", func(f *film) { f.table("stts").body = words32(0, 3, 10, 512, 1, math.MaxInt32, 14, 512) }),
		one("stts of endless samples", "source_unsupported|source_truncated|source_unreadable", func(f *film) { f.table("stts").body = words32(0, 1, 25, math.MaxInt32) }),
		one("stts of zero", "source_truncated", func(f *film) { f.table("stts").body = words32(0, 1, 25, 0) }),
		one("stts of negative durations", Pass, func(f *film) { f.table("stts").body = words32(0, 2, 12, 512, 13, 0xfffffe00) }),
		one("stts of no entries", "source_truncated", func(f *film) { f.table("stts").body = words32(0, 0) }),
		one("stsz of a million million bytes", garbage, func(f *film) { f.table("stsz").body = words32(0, math.MaxUint32, 25) }),
		one("stsz of four thousand million samples", "source_truncated", func(f *film) { f.table("stsz").body = words32(0, 1, math.MaxUint32) }),
		one("stsz that claims entries which are not there", "source_unreadable", func(f *film) { f.table("stsz").put(8, 0x3f, 0xff, 0xff, 0xff) }),
		one("stsz of empty samples", garbage, func(f *film) { clear(f.table("stsz").body[12:]) }),
		one("stsc from chunk zero", "source_truncated", func(f *film) { f.table("stsc").body = words32(0, 1, 0, 1, 1) }),
		one("stsc of four thousand million samples a chunk", "pass|source_truncated", func(f *film) { f.table("stsc").body = words32(0, 1, 1, math.MaxUint32, 1) }),
		one("stsc that goes back", Pass, func(f *film) { f.table("stsc").body = words32(0, 3, 1, 1, 1, 9, 2, 1, 3, 1, 1) }),
		one("stsc of description 77", "source_truncated", func(f *film) { f.table("stsc").body = words32(0, 1, 1, 1, 77) }),
		one("stco behind the end", garbage, func(f *film) { fill32(f.table("stco"), 0x7fffff00) }),
		one("stco of zero", garbage, func(f *film) { fill32(f.table("stco"), 0) }),
		one("stco into the index", garbage, func(f *film) { fill32(f.table("stco"), uint32(len(c.MP4)-900)) }),
		one("co64 below zero", garbage, func(f *film) { co64(f, 1<<63+8) }),
		one("co64 at the end of the world", garbage, func(f *film) { co64(f, 1<<63-1) }),
		one("ctts of two thousand million", "source_truncated", func(f *film) { f.table("ctts").body = words32(0, 1, 25, math.MaxInt32) }),
		one("ctts below zero", "source_truncated", func(f *film) { f.table("ctts").body = words32(1<<24, 1, 25, 0x80000000) }),
		one("stss that claims entries which are not there", "source_unreadable", func(f *film) { f.table("stss").put(4, 0x7f, 0xff, 0xff, 0xff) }),
		one("stss of no key frame", Pass, func(f *film) { f.table("stss").body = words32(0, 1, 4000) }),
		one("edit list that loops", "source_unsupported", func(f *film) { f.edits(slices.Repeat([]uint32{1000, 0, 1 << 16}, 2000)...) }),
		one("edit list of a minute of nothing", Pass, func(f *film) { f.edits(60_000, math.MaxUint32, 1<<16, 1000, 1024, 1<<16) }),
		one("edit list of 50 days of nothing", "source_unsupported|source_truncated", func(f *film) {
			f.edits(math.MaxInt32, math.MaxUint32, 1<<16, math.MaxInt32, math.MaxUint32, 1<<16, 1000, 1024, 1<<16)
		}),
		one("edit list from below zero", "source_truncated", func(f *film) { f.edits(1000, 0x80000000, 1<<16) }),
		one("edit list at speed zero", Pass, func(f *film) { f.edits(1000, 1024, 0) }),
		one("edit list that claims entries which are not there", Pass, func(f *film) { f.edits(1000, 1024, 1<<16); f.video.find("edts/elst").put(4, 0x7f, 0xff, 0xff, 0xff) }),
		one("timescale zero of the film", Pass, func(f *film) { f.moov.find("mvhd").put(12, 0, 0, 0, 0) }),
		one("timescale zero of the picture", Pass, func(f *film) { f.video.find("mdia/mdhd").put(12, 0, 0, 0, 0) }),
		one("timescale of four thousand million", Pass, func(f *film) { f.video.find("mdia/mdhd").put(12, 0xff, 0xff, 0xff, 0xff) }),
		one("timescale of one", Pass, func(f *film) { f.video.find("mdia/mdhd").put(12, 0, 0, 0, 1) }),
		one("duration that is not known", Pass, func(f *film) { f.moov.find("mvhd").put(16, 0xff, 0xff, 0xff, 0xff) }),
		one("matrix of zeros", Pass, func(f *film) { clear(f.video.find("tkhd").body[40:76]) }),
		one("matrix that shears", Pass, func(f *film) { f.video.find("tkhd").put(40, bytes.Repeat([]byte{0x7f, 0xff, 0xff, 0xff}, 9)...) }),
		one("sample aspect of a line", Pass, func(f *film) { entry(f).kids = append(entry(f).kids, leaf("pasp", words32(1, math.MaxInt32))) }),
		one("sample aspect of zero", Pass, func(f *film) { entry(f).kids = append(entry(f).kids, leaf("pasp", words32(0, 0))) }),
		one("width of 65535 in the container", Pass, func(f *film) { copy(entry(f).head[24:], "\xff\xff\xff\xff") }),
		one("unknown codec", "source_no_video|source_truncated|source_unsupported", func(f *film) { entry(f).kind = "zzzz" }),
		one("codec of an encrypted film", "source_truncated|source_unreadable|source_no_video", func(f *film) { entry(f).kind = "encv" }),
		one("no parameter sets", garbage, func(f *film) { entry(f).find("avcC").body = []byte{1, 100, 0, 10, 0xff, 0xe0, 0} }),
		one("parameter sets cut", "source_truncated", func(f *film) { b := entry(f).find("avcC"); b.body = b.body[:9] }),
		one("parameter sets of garbage", "source_truncated", func(f *film) { b := entry(f).find("avcC").body; copy(b[8:], bytes.Repeat([]byte{0xaa}, 12)) }),
		one("no sample description", "source_no_video|source_truncated|source_unsupported|source_unreadable", func(f *film) { b := f.table("stsd"); b.kids, b.head = nil, words32(0, 0) }),
		one("stsd of a thousand million entries", "source_unreadable", func(f *film) { copy(f.table("stsd").head, words32(0, big)) }),
		one("sample rate of zero", Pass, func(f *film) { copy(soundEntry(f).head[24:], be32(0)) }),
		one("65535 channels", Pass, func(f *film) { copy(soundEntry(f).head[16:], "\xff\xff") }),
		one("esds that nests for ever", Pass, func(f *film) {
			soundEntry(f).find("esds").body = append(be32(0), bytes.Repeat([]byte{3, 0x80, 0x80, 0x80, 0x7f, 0, 1, 0}, 40)...)
		}),
	}
}

// shapes are MP4 files whose boxes are wrong.
func (c *Clips) shapes() []Medium {
	one := func(name, want string, change func(*film)) Medium { return c.mp4(name, want, change) }
	unread := "source_unreadable|source_no_video"
	nested := leaf("udta")
	for range 4000 {
		nested = &box{kind: "udta", kids: []*box{nested}}
	}
	deep := &box{kind: "moov"}
	for range 3000 {
		deep = &box{kind: "moov", kids: []*box{deep}}
	}
	return []Medium{
		one("moov in moov in moov", unread, func(f *film) { f.moov = deep }),
		one("udta in udta in udta", "source_unreadable", func(f *film) { f.moov.kids = append(f.moov.kids, nested) }),
		one("moov twice", Pass, func(f *film) { f.after = f.moov.bytes() }),
		one("moov of nothing", unread, func(f *film) { f.moov = leaf("moov") }),
		one("moov that claims four gigabytes", unread+"|"+Pass, func(f *film) { f.moov.claim = math.MaxUint32 }),
		one("moov smaller than its head", unread, func(f *film) { f.moov.claim = 5 }),
		one("box of 64 bit below zero", Pass, func(f *film) { f.after = slices.Concat(be32(1), []byte("free"), be64(1<<63+7)) }),
		one("box of 64 bit smaller than its head", Pass, func(f *film) { f.after = slices.Concat(be32(1), []byte("free"), be64(3)) }),
		one("trak that claims to go behind moov", Pass, func(f *film) { f.sound.claim = 1 << 30 }),
		one("mdat that swallows the index", unread, func(f *film) { f.before[len(f.before)-1].claim = uint32(len(c.MP4)) }),
		one("mdat of zero size before the index", unread, func(f *film) {
			b := f.before[len(f.before)-1]
			b.body = slices.Concat(make([]byte, 0), b.body)
			b.kind = "mdat"
			b.claim = 0x00000001
		}),
		one("compressed index that is a bomb", unread, func(f *film) { f.moov = compressed(zeros(64<<20), 64<<20) }),
		one("compressed index that claims four gigabytes", unread, func(f *film) { f.moov = compressed(zeros(1<<10), math.MaxUint32-1) }),
		one("compressed index inside a compressed index", unread, func(f *film) {
			in := f.moov
			for range 20 {
				in = compressed(in.bytes(), uint32(len(in.bytes())))
			}
			f.moov = in
		}),
		one("a thousand tracks", "source_unreadable", func(f *film) { f.many(1000) }),
		one("track without a table", Pass, func(f *film) { f.sound.find("mdia/minf").kids = nil }),
		one("chapter track that is its own", "source_no_video", func(f *film) { f.video.kids = append(f.video.kids, leaf("tref", leaf("chap", be32(1)).bytes())) }),
		one("no handler", Pass, func(f *film) { f.video.find("mdia/hdlr").put(8, 0, 0, 0, 0) }),
		one("sound that calls itself picture", Pass, func(f *film) { f.sound.find("mdia/hdlr").put(8, []byte("vide")...) }),
		one("picture that calls itself sound", "source_no_video|source_unreadable|source_truncated", func(f *film) { f.alone(); f.video.find("mdia/hdlr").put(8, []byte("soun")...) }),
		one("title of line ends and tags", Pass, func(f *film) {
			f.sound.kids = append(f.sound.kids, title("x\"\n#EXT-X-KEY:METHOD=NONE\r\n#EXTM3U,;$Number$"))
		}),
		one("title of broken UTF-8", Pass, func(f *film) { f.sound.kids = append(f.sound.kids, title("\xff\xfe\xc0\xaf\xed\xa0\x80")) }),
		one("title of a megabyte", Pass, func(f *film) { f.sound.kids = append(f.sound.kids, title(string(bytes.Repeat([]byte("ü"), 1<<19)))) }),
		one("fragment index that points at itself", "source_unreadable", func(f *film) { f.after = loopedIndex(uint32(len(f.bytes()))) }),
		one("fragment of four thousand million samples", "source_unreadable", func(f *film) { f.after = fragment(math.MaxUint32, 0) }),
		one("fragment at the end of time", "source_unreadable", func(f *film) { f.after = fragment(1, 1<<63-1) }),
		one("fragment of an unknown track", "source_unreadable", func(f *film) { f.after = fragment(1, 0) }),
		one("protection header of a gigabyte", "source_unreadable", func(f *film) {
			p := leaf("pssh", words32(1<<24), make([]byte, 16), be32(big))
			f.moov.kids = append(f.moov.kids, p)
		}),
		one("sample sizes of encryption out of nowhere", Pass, func(f *film) {
			f.video.find("mdia/minf/stbl").kids = append(f.video.find("mdia/minf/stbl").kids, leaf("senc", words32(2, big)), leaf("saiz", words32(0, 8<<24, big)), leaf("saio", words32(0, big)))
		}),
		{Name: "picture of a still format", Body: slices.Concat(leaf("ftyp", []byte("heic"), be32(0), []byte("mif1")).bytes(), leaf("meta", be32(0), leaf("iloc", words32(1<<24, 0x44000000|0xffff)).bytes()).bytes()), Want: unread},
	}
}

// many adds copies of the picture's track.
func (f *film) many(n int) {
	for range n {
		f.moov.kids = append(f.moov.kids, f.video.clone())
	}
}

func entry(f *film) *box      { return f.table("stsd").kids[0] }
func soundEntry(f *film) *box { return f.sound.find("mdia/minf/stbl/stsd").kids[0] }

// fill32 sets every entry of a table of 32-bit numbers.
func fill32(b *box, v uint32) {
	for off := 8; off < len(b.body); off += 4 {
		b.put(off, be32(v)...)
	}
}

// co64 replaces the picture's chunk offsets by 64-bit ones.
func co64(f *film, v uint64) {
	b := f.table("stco")
	n := len(b.body)/4 - 2
	b.kind, b.body = "co64", append(words32(0, uint32(n)), bytes.Repeat(be64(v), n)...)
}

func zeros(n int) []byte { return make([]byte, n) }

// compressed is QuickTime's compressed index.
func compressed(content []byte, claim uint32) *box {
	var z bytes.Buffer
	w := zlib.NewWriter(&z)
	_, _ = w.Write(content) // a buffer takes everything
	_ = w.Close()
	return &box{kind: "moov", kids: []*box{{kind: "cmov", body: slices.Concat(leaf("dcom", []byte("zlib")).bytes(), leaf("cmvd", be32(claim), z.Bytes()).bytes())}}}
}

// title is a track's name as QuickTime writes it.
func title(text string) *box {
	n := min(len(text), math.MaxUint16)
	return &box{kind: "udta", kids: []*box{leaf("name", []byte(text)), leaf("\xa9nam", be16(uint16(n)), be16(0), []byte(text[:n]))}}
}

// fragment is a moof box with a run of so many samples.
func fragment(samples uint32, at uint64) []byte {
	traf := &box{kind: "traf", kids: []*box{
		leaf("tfhd", words32(0x20000, 1)), leaf("tfdt", be32(1<<24), be64(at)), leaf("trun", words32(0x301, samples, 8)),
	}}
	return (&box{kind: "moof", kids: []*box{leaf("mfhd", words32(0, 1)), traf}}).bytes()
}

// loopedIndex is a sidx and an mfra box, at the given offset, that lead to themselves.
func loopedIndex(at uint32) []byte {
	sidx := leaf("sidx", words32(0, 1, 1000, 0, 0, 1, 0x80000000, 1000, 0))
	tfra := leaf("tfra", words32(0, 1, 0, 1, 0, at), []byte{1, 1, 1})
	size := uint32(8 + len(tfra.bytes()) + 16)
	mfra := leaf("mfra", tfra.bytes(), leaf("mfro", words32(0, size)).bytes())
	return slices.Concat(sidx.bytes(), mfra.bytes())
}
