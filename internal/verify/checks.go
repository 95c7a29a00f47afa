package verify

import "fmt"

// Severity says what a finding means for the verdict.
type Severity string

// The severities.
const (
	Error   Severity = "error"   // a rule is broken that players rely on
	Warning Severity = "warning" // a recommendation is not followed, or something could not be seen
)

// Check is one rule: what it says, where it comes from, and how it is seen.
type Check struct {
	ID       string
	Severity Severity
	Protocol string // HLS, DASH or both
	Clause   string
	Rule     string // one sentence

	run func(p *presentation, report reporter)
}

// reporter takes one finding.
type reporter func(where, format string, args ...any)

// Finding is one breach of a check.
type Finding struct {
	Check    string   `json:"check"`
	Severity Severity `json:"severity"`
	Where    string   `json:"where"`
	Text     string   `json:"text"`
}

const (
	both      = "both"
	hlsDraft  = "RFC 8216bis, "
	appleSpec = "Apple HLS Authoring Specification, "
	dashSpec  = "ISO/IEC 23009-1, "
	cencSpec  = "ISO/IEC 23001-7, "
)

// Checks lists every check, in the order in which they are reported.
func Checks() []Check {
	all := [][]Check{transportChecks(), keyChecks(), playlistChecks(), manifestChecks(), timingChecks(), rateChecks(), mediaChecks()}
	var out []Check
	for _, list := range all {
		out = append(out, list...)
	}
	return out
}

// findingsOf runs one check; of many equal breaches the first are kept.
func findingsOf(c Check, p *presentation) (out []Finding) {
	if c.Protocol != both && c.Protocol != p.Protocol {
		return nil
	}
	const most = 10
	n := 0
	c.run(p, func(where, format string, args ...any) {
		if n++; n <= most {
			out = append(out, Finding{c.ID, c.Severity, clip(where), fmt.Sprintf(format, args...)})
		}
	})
	if n > most {
		out = append(out, Finding{c.ID, c.Severity, "", fmt.Sprintf("and %d more of this kind", n-most)})
	}
	return out
}

// where names a segment for people.
func (r *rendition) where(s *segment) string {
	return fmt.Sprintf("%s, segment %d", r.Name, s.Number+1)
}

// eachSegment visits every segment of every rendition.
func (p *presentation) eachSegment(f func(r *rendition, s *segment)) {
	for _, r := range p.Renditions {
		for _, s := range r.Segments {
			f(r, s)
		}
	}
}

// whole reports whether all segments are there and were opened.
func (r *rendition) whole() bool {
	for _, s := range r.Segments {
		if !s.fetched() || s.Container != "" || s.Decrypt != "" {
			return false
		}
	}
	for _, i := range r.Inits {
		if !i.Answer.ok() || i.Fault != "" {
			return false
		}
	}
	return len(r.Segments) > 0
}

// finished reports whether the rendition will not grow.
func (r *rendition) finished() bool { return r.List == nil || r.List.Ended }
