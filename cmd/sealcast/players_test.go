package main

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sealcast/sealcast/internal/player/browsertest"
)

// pictures are those of sources, each decoded once. A source has 25 pictures a
// second.
type pictures struct {
	t     *testing.T
	limit float64    // of the difference between a source's picture and what is shown of it; 0: 0.03
	mu    sync.Mutex // guards what follows
	known map[string][]browsertest.Image
}

// at is the source's picture at a time: the last one that begins by then.
func (p *pictures) at(source string, at time.Duration) browsertest.Image {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known[source] == nil {
		if p.known == nil {
			p.known = map[string][]browsertest.Image{}
		}
		p.known[source] = browsertest.Frames(p.t, source)
	}
	film := p.known[source]
	return film[max(0, min(len(film)-1, int((at+time.Millisecond)/(40*time.Millisecond))))]
}

// right wants a picture to be the source's at a time, and not an older one. One
// that is late may lag by two pictures.
func (p *pictures) right(source string, img browsertest.Image, at time.Duration, late bool) error {
	same, other := browsertest.Similar(img, p.at(source, at)), browsertest.Similar(img, p.at(source, at-time.Second))
	if late {
		same = min(same, browsertest.Similar(img, p.at(source, at-80*time.Millisecond)))
	}
	if same > cmp.Or(p.limit, 0.03) || other < 0.1 {
		return fmt.Errorf("the picture at %s is %.3f from the source's, %.3f from the one a second before", at, same, other)
	}
	return nil
}

// judge returns what was wrong with a cell, or nothing.
func (p *pictures) judge(c browsertest.Cell, source string, res browsertest.CellResult) error {
	var faults []error
	for _, step := range browsertest.Steps {
		if text := res.Steps[step]; text != "" {
			faults = append(faults, fmt.Errorf("%s: %s", step, text))
		}
	}
	shots := map[float64]browsertest.Image{}
	for _, s := range res.Shots {
		img, err := browsertest.ReadImage(s.File)
		if err != nil {
			return err
		}
		shots[s.At] = img
		// hls.js begins the time of MPEG-TS at the first decoding time, two pictures before the first one.
		faults = append(faults, p.right(source, img, seconds(s.At), strings.Contains(c.URL, "/ts/")))
	}
	for _, s := range res.Texts {
		img, err := browsertest.ReadImage(s.File)
		if err != nil {
			return err
		}
		for _, cue := range c.Cues {
			if bare := shots[s.At]; cue.At == s.At && bare != nil && (browsertest.Differs(img, bare) > 0) != (cue.Text != "") {
				faults = append(faults, fmt.Errorf("the picture at %.2f s with the text %q: %d parts differ from the one without", s.At, cue.Text, browsertest.Differs(img, bare)))
			}
		}
	}
	if len(faults) == 0 && c.Scheme != "" && res.KeyRequests == 0 {
		faults = append(faults, errors.New("no key request was seen"))
	}
	return errors.Join(faults...)
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
