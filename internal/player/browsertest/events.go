package browsertest

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"maps"
	"os"
	"slices"
	"time"
)

// plan is the input of drive.mjs.
type plan struct {
	Page    string     `json:"page"`
	API     string     `json:"api"`
	Hash    string     `json:"hash"`
	Output  string     `json:"output"`
	Token   string     `json:"token"`
	Bad     []badToken `json:"bad"`
	Times   []float64  `json:"times"`
	Past    float64    `json:"past"`
	Dir     string     `json:"dir"`
	Seconds float64    `json:"seconds"`
}

type badToken struct {
	Name  string `json:"name"`
	Token string `json:"token"`
}

func newPlan(c Config) plan {
	p := plan{
		Page: c.PageURL, API: c.APIURL, Hash: c.Hash, Output: c.Output, Token: c.Token,
		Past: c.Past.Seconds(), Dir: c.KeepDir, Seconds: c.Deadline.Seconds(), Times: []float64{},
	}
	for _, at := range c.Times {
		p.Times = append(p.Times, at.Seconds())
	}
	for _, name := range slices.Sorted(maps.Keys(c.Refused)) {
		p.Bad = append(p.Bad, badToken{name, c.Refused[name]})
	}
	return p
}

// event is one line of drive.mjs: the union of all events' members.
type event struct {
	Event       string  `json:"event"`
	Case        string  `json:"case"`
	Text        string  `json:"text"`
	Version     string  `json:"version"`
	Engine      string  `json:"engine"`
	Levels      []Level `json:"levels"`
	CurrentTime float64 `json:"currentTime"`
	ReadyState  int     `json:"readyState"`
	Frames      int     `json:"frames"`
	Height      int     `json:"height"`
	At          float64 `json:"at"`
	File        string  `json:"file"`
	Name        string  `json:"name"`
	Code        string  `json:"code"`
	URL         string  `json:"url"`
	Method      string  `json:"method"`
	Authorized  bool    `json:"authorized"`
	Referer     string  `json:"referer"`
}

// collect reads events until the end of the stream.
func collect(lines *bufio.Scanner) (Result, error) {
	lines.Buffer(nil, 1<<20)
	res := Result{Refusals: map[string]Refusal{}}
	done := false
	var failure error
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return res, fmt.Errorf("event %q: %w", lines.Bytes(), err)
		}
		switch e.Event {
		case "fail":
			failure = errors.Join(failure, fmt.Errorf("case %s: %s", e.Case, e.Text))
		case "done":
			done = true
		default:
			if err := res.add(e); err != nil {
				failure = errors.Join(failure, err)
			}
		}
	}
	if err := lines.Err(); err != nil {
		return res, fmt.Errorf("read events: %w", err)
	}
	if failure == nil && !done {
		failure = errors.New("drive.mjs ended too early")
	}
	return res, failure
}

func (r *Result) add(e event) error {
	switch e.Event {
	case "browser":
		r.Browser = e.Version
	case "ready":
		r.Engine, r.Levels = e.Engine, e.Levels
	case "played":
		r.Reached, r.Frames = seconds(e.CurrentTime), e.Frames
	case "quality":
		r.Qualities = append(r.Qualities, e.Height)
	case "shot":
		img, err := ReadImage(e.File)
		if err != nil {
			return err
		}
		r.Shots = append(r.Shots, Shot{seconds(e.At), img})
	case "refused":
		img, err := ReadImage(e.File)
		if err != nil {
			return err
		}
		r.Refusals[e.Name] = Refusal{e.Code, e.Text, seconds(e.CurrentTime), e.ReadyState, e.Frames, img}
	case "request":
		r.Requests = append(r.Requests, Request{e.Case, e.URL, e.Method, e.Authorized, e.Referer})
	case "console":
		if e.Case == "play" {
			r.Console = append(r.Console, e.Text)
		}
	}
	return nil
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// ReadImage reads a picture from a file.
func ReadImage(path string) (image.Image, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	img, _, err := image.Decode(f)
	if err != nil {
		return nil, fmt.Errorf("decode %s: %w", path, err)
	}
	return img, nil
}
