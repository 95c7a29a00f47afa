//go:build matrix

package main

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/sealcast/sealcast/internal/player/browsertest"
)

// judgeTool wants sound and pictures of the start that are the source's, those
// of its times after seeks, and the text.
func (m *matrix) judgeTool(o matrixOutput, tool browsertest.Tool, p browsertest.Played) error {
	var faults []error
	for i, s := range p.Sounds {
		if s.Length < 6*time.Second || math.Abs(s.Hertz-tones[i]) > 10 {
			faults = append(faults, fmt.Errorf("audio track %d: %s of %.0f Hz", i+1, s.Length, s.Hertz))
		}
	}
	if len(p.Sounds) == 0 {
		faults = append(faults, errors.New("no sound"))
	}
	if len(p.Pictures) < 6 {
		faults = append(faults, fmt.Errorf("%d pictures, want one for each of 6 s", len(p.Pictures)))
	}
	source := m.files[o.title]
	texts := map[string]bool{} // what was on pictures
	for at, img := range p.Sought {
		shown, err := m.sought(source, img, at-tool.Early, at+tool.Late)
		texts[cueAt(shown)] = true
		switch {
		case err != nil:
			faults = append(faults, err)
		case o.text && !p.Apart && (browsertest.Uneven(img) > 0) != (cueAt(shown) != ""):
			faults = append(faults, fmt.Errorf("the picture at %s with the text %q: %d parts of it stand out", shown, cueAt(shown), browsertest.Uneven(img)))
		}
	}
	switch {
	case o.text && p.Apart:
		faults = append(faults, sameCues(p.Cues))
	case o.text && len(texts) < 2:
		faults = append(faults, fmt.Errorf("seen with the texts %v only", texts))
	}
	for i, img := range p.Pictures {
		if !m.somewhere(source, img, time.Duration(i)*p.Every, p.Every == 0) {
			faults = append(faults, fmt.Errorf("picture %d is none of the source's at its time", i))
		}
	}
	return errors.Join(faults...)
}

// sought wants the picture to be the source's between two times, and not that
// of a second before or after; it returns the time. In the first pictures of a
// segment what moves slowly may lag behind a little, which costs few bits.
func (m *matrix) sought(source string, img browsertest.Image, from, to time.Duration) (time.Duration, error) {
	from = max(0, from)
	nearest, at := 1., from
	for t := from; t <= to; t += 40 * time.Millisecond {
		if d := browsertest.Similar(img, m.pictures.at(source, t)); d < nearest {
			nearest, at = d, t
		}
	}
	other := 1.
	for _, t := range []time.Duration{at - time.Second, at + time.Second} {
		if t >= 0 && t < filmLength {
			other = min(other, browsertest.Similar(img, m.pictures.at(source, t)))
		}
	}
	if nearest > m.pictures.limit || other < 0.1 {
		return at, fmt.Errorf("the picture between %s and %s is %.3f from the source's at %s, %.3f from those a second away", from, to, nearest, at, other)
	}
	return at, nil
}

// cueTimes are those of the film's subtitles.
var cueTimes = []browsertest.TimedCue{
	{From: 500 * time.Millisecond, To: 2 * time.Second, Text: "first words"},
	{From: 9100 * time.Millisecond, To: 11500 * time.Millisecond, Text: "last words"},
}

// cueAt is the text at a time of the film.
func cueAt(at time.Duration) string {
	for _, c := range cueTimes {
		if c.From <= at && at < c.To {
			return c.Text
		}
	}
	return ""
}

// sameCues wants the film's subtitles within two pictures and a half: some
// begin the time of MPEG-TS at the first decoding time, two before the first one.
func sameCues(got []browsertest.TimedCue) error {
	same := len(got) == len(cueTimes)
	for i := 0; same && i < len(got); i++ {
		same = got[i].Text == cueTimes[i].Text && (got[i].From-cueTimes[i].From).Abs() < 100*time.Millisecond && (got[i].To-cueTimes[i].To).Abs() < 100*time.Millisecond
	}
	if !same {
		return fmt.Errorf("the text is %+v", got)
	}
	return nil
}

// somewhere looks for a picture near a time, or anywhere: tools round times.
func (m *matrix) somewhere(source string, img browsertest.Image, at time.Duration, anywhere bool) bool {
	from, to := max(0, at-time.Second), at+time.Second
	if anywhere {
		from, to = 0, 11*time.Second
	}
	for t := from; t <= to; t += 200 * time.Millisecond {
		if browsertest.Similar(img, m.pictures.at(source, t)) < 0.04 {
			return true
		}
	}
	return false
}
