package verify

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/sealcast/sealcast/internal/sandbox"
)

// Report is what was found. Its JSON is the contract of -json.
type Report struct {
	URL        string      `json:"url"`
	Protocol   string      `json:"protocol"`
	OK         bool        `json:"ok"` // no errors; there may be warnings
	Errors     int         `json:"errors"`
	Warnings   int         `json:"warnings"`
	Seconds    float64     `json:"seconds"` // that verifying took
	Sandbox    string      `json:"sandbox"` // level that ffmpeg was confined at
	Checked    []string    `json:"checked"` // the checks that were made
	Skipped    []Skipped   `json:"skipped"`
	Renditions []Rendition `json:"renditions"`
	Keys       int         `json:"keys"` // content keys that were fetched
	Findings   []Finding   `json:"findings"`
}

// Skipped is a check that could not be made, and why.
type Skipped struct {
	Check string `json:"check"`
	Why   string `json:"why"`
}

// Rendition is what was measured of one.
type Rendition struct {
	Name       string   `json:"name"`
	Kind       string   `json:"kind"`
	URL        string   `json:"url"`
	Codecs     []string `json:"codecs"`
	Encryption string   `json:"encryption"` // METHOD or scheme; empty: clear
	Segments   int      `json:"segments"`
	Fetched    int      `json:"fetched"`
	Bytes      int64    `json:"bytes"`
	Seconds    float64  `json:"duration_seconds"` // as listed
	Pictures   int64    `json:"pictures_decoded"`
	Sounds     int64    `json:"audio_frames_decoded"`
}

// judge runs every check over the facts.
func judge(p *presentation, took time.Duration, level sandbox.Level) *Report {
	r := &Report{
		URL: p.URL, Protocol: p.Protocol, Seconds: took.Round(time.Millisecond).Seconds(), Sandbox: string(level), Keys: len(p.Keys),
		Checked: []string{}, Skipped: []Skipped{}, Renditions: []Rendition{}, Findings: []Finding{},
	}
	for _, c := range Checks() {
		if c.Protocol != both && c.Protocol != p.Protocol {
			continue
		}
		if why := p.cannot(c.ID); why != "" {
			r.Skipped = append(r.Skipped, Skipped{c.ID, why})
			continue
		}
		r.Checked = append(r.Checked, c.ID)
		r.Findings = append(r.Findings, findingsOf(c, p)...)
	}
	for _, f := range r.Findings {
		if f.Severity == Error {
			r.Errors++
		} else {
			r.Warnings++
		}
	}
	r.OK = r.Errors == 0
	for _, x := range p.Renditions {
		r.Renditions = append(r.Renditions, x.summary())
	}
	return r
}

// cannot tells why a check cannot be made.
func (p *presentation) cannot(id string) string {
	switch {
	case id == "cors" && p.Origin == "":
		return "give a page's origin with -origin"
	case id == "key-refused" && len(p.Probes) == 0:
		return "no key route of sealcast is in it"
	}
	return ""
}

func (r *rendition) summary() Rendition {
	out := Rendition{
		Name: r.Name, Kind: string(r.Kind), URL: r.URL, Codecs: r.found(), Segments: len(r.Segments),
		Pictures: r.Decoded.Pictures, Sounds: r.Decoded.Sounds,
	}
	if out.Codecs == nil {
		out.Codecs = []string{}
	}
	for _, s := range r.Segments {
		out.Seconds += s.Listed
		if s.fetched() {
			out.Fetched++
			out.Bytes += s.Answer.Bytes
		}
		if s.Key != nil {
			out.Encryption = s.Key.Method
		}
	}
	out.Seconds = roundSeconds(out.Seconds).Seconds()
	return out
}

// WriteJSON writes the report for machines.
func (r *Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(r)
}

// WriteText writes the report for people.
func (r *Report) WriteText(w io.Writer) {
	fmt.Fprintf(w, "%s  %s\n\n", r.Protocol, r.URL)
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(tw, "RENDITION\tCODECS\tENCRYPTION\tSEGMENTS\tDURATION\tBYTES\tDECODED\n")
	for _, x := range r.Renditions {
		enc, dec := x.Encryption, "–"
		if enc == "" {
			enc = "clear"
		}
		switch {
		case x.Pictures > 0 && x.Sounds > 0:
			dec = fmt.Sprintf("%d pictures, sound", x.Pictures)
		case x.Pictures > 0:
			dec = fmt.Sprintf("%d pictures", x.Pictures)
		case x.Sounds > 0:
			dec = fmt.Sprintf("%d frames of sound", x.Sounds)
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%d of %d\t%.3f s\t%d\t%s\n",
			x.Name, strings.Join(x.Codecs, ","), enc, x.Fetched, x.Segments, x.Seconds, x.Bytes, dec)
	}
	_ = tw.Flush()
	fmt.Fprintln(w)
	r.writeFindings(w)
}

func (r *Report) writeFindings(w io.Writer) {
	clauses := map[string]string{}
	for _, c := range Checks() {
		clauses[c.ID] = c.Clause
	}
	sorted := slices.Clone(r.Findings)
	slices.SortStableFunc(sorted, func(a, b Finding) int { return strings.Compare(string(a.Severity), string(b.Severity)) })
	last := ""
	for _, f := range sorted {
		if f.Check != last {
			fmt.Fprintf(w, "%-7s  %s  (%s)\n", f.Severity, f.Check, clauses[f.Check])
			last = f.Check
		}
		where := f.Where
		if where != "" {
			where += ": "
		}
		fmt.Fprintf(w, "         %s%s\n", where, f.Text)
	}
	if len(sorted) > 0 {
		fmt.Fprintln(w)
	}
	for _, s := range r.Skipped {
		fmt.Fprintf(w, "not checked: %s (%s)\n", s.Check, s.Why)
	}
	verdict := "accepted"
	if !r.OK {
		verdict = "refused"
	}
	fmt.Fprintf(w, "%s: %d checks, %d errors, %d warnings, %d keys, %.1f s, sandbox %s\n",
		verdict, len(r.Checked), r.Errors, r.Warnings, r.Keys, r.Seconds, r.Sandbox)
}
