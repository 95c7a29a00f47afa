package verify

import (
	"bytes"
	"math"
	"os"
	"strings"
	"testing"
)

// docs/verify.md lists the checks as they are. UPDATE=1 writes it.
func TestDocs(t *testing.T) {
	const file = "../../docs/verify.md"
	const begin, end = "<!-- checks: UPDATE=1 go test ./internal/verify -run TestDocs writes them -->\n", "<!-- end of checks -->"
	doc, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok1 := strings.Cut(string(doc), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok1 || !ok2 {
		t.Fatalf("%s has lost its marks", file)
	}
	var table bytes.Buffer
	WriteDocs(&table)
	want := before + begin + table.String() + end + after
	if os.Getenv("UPDATE") == "1" {
		if err := os.WriteFile(file, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
	} else if string(doc) != want {
		t.Errorf("%s does not list the checks as they are: UPDATE=1 go test ./internal/verify -run TestDocs", file)
	}
}

func TestChecksAreComplete(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range Checks() {
		if seen[c.ID] || c.Clause == "" || !strings.HasSuffix(c.Rule, ".") || c.run == nil || c.Severity != Error && c.Severity != Warning ||
			c.Protocol != both && c.Protocol != protocolHLS && c.Protocol != protocolDASH {
			t.Errorf("%+v", c)
		}
		seen[c.ID] = true
	}
}

// Counter blocks of cenc: IVs of 8 bytes meet when they are equal, those of 16
// bytes when a sample's blocks run into the next one's.
func TestCounterBlocks(t *testing.T) {
	use := func(size int, ivs [][]byte, bytes int64) []runOf {
		b := boxFacts{init: &trackInit{Scheme: "cenc", KID: "k", IVSize: size}}
		for _, iv := range ivs {
			b.iv(iv, bytes)
		}
		var out []runOf
		for _, r := range b.ivs {
			out = append(out, runOf{r, "x"})
		}
		return out
	}
	iv8 := func(n byte) []byte { return []byte{0, 0, 0, 0, 0, 0, 0, n} }
	iv16 := func(n byte) []byte { return append(make([]byte, 15), n) }
	if runs := use(8, [][]byte{iv8(1), iv8(2), iv8(3)}, 1000); len(runs) != 1 || len(overlaps(runs)) != 0 {
		t.Errorf("successive IVs: %+v", runs)
	}
	if len(overlaps(append(use(8, [][]byte{iv8(1), iv8(2)}, 1000), use(8, [][]byte{iv8(2)}, 1000)...))) != 1 {
		t.Error("an IV that is used twice is not seen")
	}
	if len(overlaps(use(16, [][]byte{iv16(0), iv16(3)}, 48))) != 0 {
		t.Error("samples of three blocks, three apart, do not meet")
	}
	if len(overlaps(use(16, [][]byte{iv16(0), iv16(2)}, 48))) != 1 {
		t.Error("samples of three blocks, two apart, meet")
	}
	carry := counter{0, math.MaxUint64}.plus(1)
	if carry != (counter{1, 0}) {
		t.Errorf("carry: %+v", carry)
	}
}

func TestXMLDuration(t *testing.T) {
	for s, want := range map[string]float64{"PT6S": 6, "PT1H2M3.5S": 3723.5, "P1DT1S": 86401, "PT0S": 0} {
		if got, err := parseXMLDuration(s); err != nil || got != want {
			t.Errorf("%s: %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "P", "6", "PT", "P1Y", "PT-1S", "PT1e9S"} {
		if got, err := parseXMLDuration(s); err == nil {
			t.Errorf("%q: %v", s, got)
		}
	}
}

// A time line and a constant duration, with the fields of a template.
func TestSegmentTemplate(t *testing.T) {
	doc := `<MPD type="static" mediaPresentationDuration="PT5S" minBufferTime="PT1S" profiles="x"><Period><AdaptationSet contentType="video">
<SegmentTemplate timescale="10" media="%s" initialization="i-$RepresentationID$.mp4" startNumber="3" duration="20"/>
<Representation id="r" bandwidth="7"/></AdaptationSet></Period></MPD>`
	line := `<SegmentTimeline><S t="5" d="20" r="1"/><S d="10"/></SegmentTimeline></SegmentTemplate>`
	for _, c := range []struct{ doc, want string }{
		{strings.Replace(doc, "%s", "$Number%03d$-$Bandwidth$.m4s", 1), "003-7.m4s 004-7.m4s 005-7.m4s"},
		{strings.Replace(strings.Replace(doc, "%s", "$Time$$$.m4s", 1), ` duration="20"/>`, ">"+line, 1), "5$.m4s 25$.m4s 45$.m4s"},
	} {
		m, err := parseManifest([]byte(c.doc))
		if err != nil {
			t.Fatal(err)
		}
		r := &m.Periods[0].Sets[0].Representations[0]
		r.set, r.period = &m.Periods[0].Sets[0], &m.Periods[0]
		init, list, err := r.segments("http://h/")
		if err != nil || init == nil || init.URL != "http://h/i-r.mp4" {
			t.Fatalf("%v, %v", init, err)
		}
		var got []string
		sum := 0.0
		for _, l := range list {
			got = append(got, strings.TrimPrefix(l.Resource.URL, "http://h/"))
			sum += l.Seconds
		}
		if strings.Join(got, " ") != c.want || sum != 5 {
			t.Errorf("%s: %q, %v s", c.want, got, sum)
		}
	}
}

func TestClearKeyLicence(t *testing.T) {
	id := []byte("0123456789abcdef")
	good := `{"keys":[{"kty":"oct","kid":"MDEyMzQ1Njc4OWFiY2RlZg","k":"ZmVkY2JhOTg3NjU0MzIxMA"}],"type":"temporary"}`
	if k, err := licenceKey([]byte(good), id); err != nil || string(k) != "fedcba9876543210" {
		t.Errorf("%q, %v", k, err)
	}
	for _, bad := range []string{"", "[]", `{"keys":[]}`, strings.Replace(good, "MDEy", "MDEz", 1), strings.Replace(good, "ZmVk", "", 1)} {
		if _, err := licenceKey([]byte(bad), id); err == nil {
			t.Errorf("accepted: %s", bad)
		}
	}
}
