package texttrack

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
)

const periodEnd = "</Period>"

// AddToManifest names tracks in an MPD with one period: an adaptation set each,
// with the whole file as the only representation (ISO/IEC 23009-1, 5.3.3;
// DASH-IF IOP part 6, side-loaded WebVTT). Without tracks the MPD stays as it is.
func AddToManifest(doc []byte, tracks []Entry) ([]byte, error) {
	if len(tracks) == 0 {
		return doc, nil
	}
	at := bytes.LastIndex(doc, []byte(periodEnd))
	if at < 0 || bytes.Count(doc, []byte(periodEnd)) != 1 {
		return nil, errors.New("the manifest has other than one period")
	}
	// Onto a line of its own, before the one that ends the period.
	for at > 0 && (doc[at-1] == ' ' || doc[at-1] == '\t') {
		at--
	}
	var out bytes.Buffer
	out.Write(doc[:at])
	chosen := defaultOf(tracks)
	for i, t := range tracks {
		writeSet(&out, i+1, t, i == chosen)
	}
	out.Write(doc[at:])
	return out.Bytes(), nil
}

func writeSet(out *bytes.Buffer, n int, t Entry, main bool) {
	fmt.Fprintf(out, "    <AdaptationSet contentType=\"text\" mimeType=\"text/vtt\" lang=\"%s\">\n", escape(t.Language))
	fmt.Fprintf(out, "      <Label>%s</Label>\n", escape(t.Name))
	if main {
		writeRole(out, "main")
	}
	switch {
	case t.Forced:
		writeRole(out, "forced-subtitle")
	case t.Kind == Captions:
		writeRole(out, "caption")
	default:
		writeRole(out, "subtitle")
	}
	fmt.Fprintf(out, "      <Representation id=\"text-%d\" bandwidth=\"256\">\n        <BaseURL>%s</BaseURL>\n      </Representation>\n    </AdaptationSet>\n",
		n, escape(t.URI))
}

func writeRole(out *bytes.Buffer, value string) {
	fmt.Fprintf(out, "      <Role schemeIdUri=\"urn:mpeg:dash:role:2011\" value=\"%s\"/>\n", value)
}

func escape(s string) string {
	var out bytes.Buffer
	_ = xml.EscapeText(&out, []byte(s)) // a bytes.Buffer takes all
	return out.String()
}
