package texttrack

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
)

// Entry is a published track as an entry document names it.
type Entry struct {
	Track
	URI string // relative to the entry document: the media playlist, or the whole file for an MPD
}

// group is the GROUP-ID of the renditions.
const group = "subs"

// AddToMaster names tracks in a multivariant playlist: an EXT-X-MEDIA each
// before the first variant, and their group at each variant (RFC 8216bis,
// 4.4.6.1 and 4.4.6.2). Without tracks the playlist stays as it is.
func AddToMaster(doc []byte, tracks []Entry) ([]byte, error) {
	if len(tracks) == 0 {
		return doc, nil
	}
	var out bytes.Buffer
	variants := 0
	for line := range strings.Lines(string(doc)) {
		if strings.HasPrefix(line, "#EXT-X-STREAM-INF:") {
			if variants == 0 {
				writeMedia(&out, tracks)
			}
			variants++
			if strings.Contains(line, ",SUBTITLES=") {
				return nil, errors.New("the playlist has subtitles already")
			}
			text := strings.TrimRight(line, "\r\n")
			line = text + `,SUBTITLES="` + group + `"` + line[len(text):]
		}
		out.WriteString(line)
	}
	if variants == 0 {
		return nil, errors.New("the playlist has no variant")
	}
	return out.Bytes(), nil
}

func writeMedia(out *bytes.Buffer, tracks []Entry) {
	yes := map[bool]string{true: "YES", false: "NO"}
	chosen := defaultOf(tracks)
	used := map[string]bool{}
	for i, t := range tracks {
		for base, n := t.Name, 2; used[t.Name]; n++ { // names of a group differ
			t.Name = fmt.Sprintf("%s %d", base, n)
		}
		used[t.Name] = true
		language := ""
		if t.Language != "und" {
			language = fmt.Sprintf(`,LANGUAGE="%s"`, t.Language)
		}
		fmt.Fprintf(out, `#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="%s",NAME="%s"%s,DEFAULT=%s,AUTOSELECT=YES,FORCED=%s`,
			group, t.Name, language, yes[i == chosen], yes[t.Forced])
		if t.Kind == Captions {
			out.WriteString(`,CHARACTERISTICS="public.accessibility.transcribes-spoken-dialog,public.accessibility.describes-music-and-sound"`)
		}
		fmt.Fprintf(out, `,URI="%s"`+"\n", t.URI)
	}
}

// defaultOf returns the index of the one default that a group may have, −1 for
// none.
func defaultOf(tracks []Entry) int {
	for i, t := range tracks {
		if t.Default {
			return i
		}
	}
	return -1
}
