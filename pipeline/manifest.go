package pipeline

import (
	"encoding/xml"
	"fmt"
	"strings"
)

// mpd is what we read of a manifest (ISO/IEC 23009-1, 5.3): one period, a
// segment template with a timeline per representation.
type mpd struct {
	Type   string   `xml:"type,attr"`
	Base   []string `xml:"BaseURL"`
	Period []struct {
		Base []string `xml:"BaseURL"`
		Sets []mpdSet `xml:"AdaptationSet"`
	} `xml:"Period"`
}

type mpdSet struct {
	Base       []string `xml:"BaseURL"`
	Protection []struct {
		Scheme string `xml:"schemeIdUri,attr"`
		Value  string `xml:"value,attr"`
		KID    string `xml:"default_KID,attr"`
	} `xml:"ContentProtection"`
	Representations []struct {
		Base     []string `xml:"BaseURL"`
		Template struct {
			Init  string `xml:"initialization,attr"`
			Media string `xml:"media,attr"`
			Start int    `xml:"startNumber,attr"`
			Runs  []struct {
				Repeat int `xml:"r,attr"`
			} `xml:"SegmentTimeline>S"`
		} `xml:"SegmentTemplate"`
	} `xml:"Representation"`
}

// checkManifest wants a manifest that names every rendition's segments — how
// many, by folder — and nothing else, and the key's id where there is a key.
func checkManifest(doc []byte, segments map[string]int, p *protection) error {
	var m mpd
	if err := xml.Unmarshal(doc, &m); err != nil {
		return fmt.Errorf("parse manifest: %w", err)
	}
	if m.Type != "static" || len(m.Period) != 1 || len(m.Base)+len(m.Period[0].Base) > 0 {
		return fmt.Errorf("the manifest is not static, or has other than one period, or a base URL")
	}
	seen := map[string]bool{}
	for _, set := range m.Period[0].Sets {
		if err := set.checkProtection(p); err != nil {
			return err
		}
		for _, r := range set.Representations {
			dir, ok := strings.CutSuffix(r.Template.Media, "/$Number$.m4s")
			n := len(r.Template.Runs)
			for _, run := range r.Template.Runs {
				n += run.Repeat
			}
			switch {
			case !ok || segments[dir] == 0 || seen[dir] || len(set.Base)+len(r.Base) > 0:
				return fmt.Errorf("the manifest names %s, which was not made, or twice", r.Template.Media)
			case r.Template.Init != dir+"/init.mp4" || r.Template.Start != 1 || n != segments[dir]:
				return fmt.Errorf("the manifest has %d segments of %s, %d were made", n, dir, segments[dir])
			}
			seen[dir] = true
		}
	}
	if len(seen) != len(segments) {
		return fmt.Errorf("the manifest has %d representations, %d were made", len(seen), len(segments))
	}
	return nil
}

// checkProtection compares the set's common protection signalling
// (ISO/IEC 23001-7, 11.1) with the key.
func (s mpdSet) checkProtection(want *protection) error {
	if want == nil {
		if len(s.Protection) > 0 {
			return fmt.Errorf("the manifest of a clear output says that it is encrypted")
		}
		return nil
	}
	for _, p := range s.Protection {
		if p.Scheme == "urn:mpeg:dash:mp4protection:2011" && p.Value == string(want.scheme) &&
			strings.ReplaceAll(strings.ToLower(p.KID), "-", "") == want.key.KID.String() {
			return nil
		}
	}
	return fmt.Errorf("the manifest does not name the key id")
}
