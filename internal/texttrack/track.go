package texttrack

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/language"
	"golang.org/x/text/language/display"
)

// Kind says for whom a track is.
type Kind string

// The kinds.
const (
	Subtitles Kind = "subtitles" // what is said, for who does not know the language
	Captions  Kind = "captions"  // what is said and heard, for who does not hear
)

// Track is what a text track is called.
type Track struct {
	Language string `json:"language"` // BCP 47 (RFC 5646), in its shortest spelling: "en", "pt-BR"; "und": not known
	Name     string `json:"name"`     // for people
	Kind     Kind   `json:"kind"`
	Forced   bool   `json:"forced"`  // shown even to who switched subtitles off: foreign dialogue only
	Default  bool   `json:"default"` // shown when the viewer has said nothing
}

// ID names a track of a title: its language, and what sets it apart from another
// one in the same language: "en", "en_captions", "en_forced".
func (t Track) ID() string {
	id := t.Language
	if t.Kind == Captions {
		id += "_captions"
	}
	if t.Forced {
		id += "_forced"
	}
	return id
}

// ParseID reads an ID, with the language in any spelling.
func ParseID(id string) (Track, error) {
	t := Track{Kind: Subtitles}
	rest, forced := strings.CutSuffix(id, "_forced")
	rest, captions := strings.CutSuffix(rest, "_captions")
	t.Forced = forced
	if captions {
		t.Kind = Captions
	}
	t.Language = rest
	return t, t.Check()
}

// maxName is in characters.
const maxName = 64

// Check makes the language canonical, gives a track without a name its
// language's own, and refuses what playlists cannot carry.
func (t *Track) Check() error {
	tag, err := language.Parse(t.Language)
	if err != nil || t.Language == "" || len(t.Language) > 35 {
		return fmt.Errorf("language: %q is no BCP 47 tag such as en, pt-BR or zh-Hant", clip(t.Language))
	}
	t.Language = tag.String()
	if t.Kind == "" {
		t.Kind = Subtitles
	}
	if t.Kind != Subtitles && t.Kind != Captions {
		return fmt.Errorf("kind: want %s or %s", Subtitles, Captions)
	}
	if t.Name == "" {
		t.Name = defaultName(*t, tag)
	}
	switch {
	case !utf8.ValidString(t.Name) || utf8.RuneCountInString(t.Name) > maxName:
		return fmt.Errorf("name: want at most %d characters", maxName)
	case strings.ContainsFunc(t.Name, func(r rune) bool { return unicode.IsControl(r) || r == '"' }):
		return errors.New("name: no control characters and no double quotes") // RFC 8216, 4.2
	case strings.TrimSpace(t.Name) != t.Name:
		return errors.New("name: no space around it")
	}
	return nil
}

func defaultName(t Track, tag language.Tag) string {
	name := display.Self.Name(tag)
	if name == "" {
		name = t.Language
	}
	// "português" is the name of pt and of pt-BR.
	_, _, region := tag.Raw()
	if namer := display.Regions(tag); namer != nil && region.IsCountry() && !strings.Contains(name, "(") {
		name += " (" + namer.Name(region) + ")"
	}
	if t.Kind == Captions {
		name += " CC"
	}
	if t.Forced {
		name += " (forced)"
	}
	return name
}

// clip makes a stranger's text short enough for an error.
func clip(s string) string {
	if r := []rune(s); len(r) > 40 {
		return string(r[:40]) + "…"
	}
	return s
}
