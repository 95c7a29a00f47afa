package verify

import (
	"encoding/binary"
	"strings"
	"testing"
)

func rawBox(name string, body ...string) string {
	all := strings.Join(body, "")
	return string(binary.BigEndian.AppendUint32(nil, uint32(8+len(all)))) + name + all
}

// hostileBoxes are small segments that made the parser use up memory or stack.
func hostileBoxes() map[string]string {
	deep := ""
	for range 300 {
		deep = rawBox("udta", deep)
	}
	tfhd := rawBox("tfhd", "\x00\x02\x00\x00\x00\x00\x00\x01")
	moof := func(in string) string {
		return rawBox("moof", rawBox("mfhd", "\x00\x00\x00\x00\x00\x00\x00\x01"), rawBox("traf", tfhd, in)) + rawBox("mdat")
	}
	trun := rawBox("trun", "\x00\x00\x00\x00\x00\x00\x04\x00")
	return map[string]string{
		"nested":          rawBox("moof", deep),
		"senc box":        moof(rawBox("senc", "\x00\x00\x00\x00\xff\xff\xff\xff\x00")),
		"of 33 bytes":     moof(rawBox("senc", "\x00\x00\x00\x00\xff\xff\xff\xff", strings.Repeat("\x00", 17))),
		"a senc box of":   moof(rawBox("uuid", piffSenc, "\x00\x00\x00\x00\xff\xff\xff\xff\x00")),
		"trun boxes":      moof(strings.Repeat(trun, 1025)),
		"alst entries":    moof(rawBox("sgpd", "\x01\x00\x00\x00alst\x7f\xff\xff\xff\x00\x00\x00\x01\x00\x00\x00\x00")),
		"lengths of thei": moof(rawBox("sgpd", "\x01\x00\x00\x00alst\x00\x00\x00\x00\x00\x00\x00\x01\x7f\xff\xff\xff")),
	}
}

func TestBoxLimits(t *testing.T) {
	t.Parallel()
	o := &opened{tracks: []trackInit{{ID: 1, Kind: video, Scheme: "cenc", IVSize: 8, Protected: true}}}
	for want, body := range hostileBoxes() {
		_, initErr := openInit([]byte(body))
		_, err := clearMP4(&segment{}, []byte(body), o, nil)
		for _, err := range []error{initErr, err, readPartial(&segment{}, []byte(body), o)} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v", want, err)
			}
		}
	}
	fine := rawBox("moof", strings.Repeat(rawBox("traf", rawBox("senc", "\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00")), 100))
	if err := boundBoxes([]byte(fine)); err != nil {
		t.Error(err)
	}
}
