package verify

import (
	"encoding/xml"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
)

// manifest is what is read of an MPD (ISO/IEC 23009-1, 5.3).
type manifest struct {
	XMLName   xml.Name
	Type      string   `xml:"type,attr"`
	Profiles  string   `xml:"profiles,attr"`
	Duration  string   `xml:"mediaPresentationDuration,attr"`
	MinBuffer string   `xml:"minBufferTime,attr"`
	Base      []string `xml:"BaseURL"`
	Periods   []period `xml:"Period"`
}

type period struct {
	ID       string          `xml:"id,attr"`
	Start    string          `xml:"start,attr"`
	Duration string          `xml:"duration,attr"`
	Base     []string        `xml:"BaseURL"`
	Sets     []adaptationSet `xml:"AdaptationSet"`
	Template *template       `xml:"SegmentTemplate"`

	start, seconds float64
}

type adaptationSet struct {
	ID              string           `xml:"id,attr"`
	Lang            string           `xml:"lang,attr"`
	ContentType     string           `xml:"contentType,attr"`
	SegmentAlign    string           `xml:"segmentAlignment,attr"`
	Base            []string         `xml:"BaseURL"`
	Essential       []descriptor     `xml:"EssentialProperty"`
	Representations []representation `xml:"Representation"`
	repBase
}

// repBase are attributes that a set may give to all its representations.
type repBase struct {
	MimeType   string       `xml:"mimeType,attr"`
	Codecs     string       `xml:"codecs,attr"`
	Width      int          `xml:"width,attr"`
	Height     int          `xml:"height,attr"`
	FrameRate  string       `xml:"frameRate,attr"`
	StartsSAP  string       `xml:"startWithSAP,attr"`
	Protection []descriptor `xml:"ContentProtection"`
	Template   *template    `xml:"SegmentTemplate"`
	List       *segmentList `xml:"SegmentList"`
	Single     *segmentBase `xml:"SegmentBase"`
}

type descriptor struct {
	Scheme string   `xml:"schemeIdUri,attr"`
	Value  string   `xml:"value,attr"`
	KID    string   `xml:"default_KID,attr"`
	Laurl  []string `xml:"Laurl"`
}

type representation struct {
	ID        string   `xml:"id,attr"`
	Bandwidth int64    `xml:"bandwidth,attr"`
	Base      []string `xml:"BaseURL"`
	repBase

	set    *adaptationSet
	period *period
}

// template is a SegmentTemplate (5.3.9.4); its timeline 5.3.9.6.
type template struct {
	Timescale uint64         `xml:"timescale,attr"`
	Duration  uint64         `xml:"duration,attr"`
	Start     *uint64        `xml:"startNumber,attr"`
	Offset    uint64         `xml:"presentationTimeOffset,attr"`
	Init      string         `xml:"initialization,attr"`
	Media     string         `xml:"media,attr"`
	Timeline  []timelineItem `xml:"SegmentTimeline>S"`
}

type timelineItem struct {
	T *uint64 `xml:"t,attr"`
	D uint64  `xml:"d,attr"`
	R int64   `xml:"r,attr"`
}

type segmentList struct {
	Timescale uint64         `xml:"timescale,attr"`
	Duration  uint64         `xml:"duration,attr"`
	Init      *urlRange      `xml:"Initialization"`
	URLs      []urlRange     `xml:"SegmentURL"`
	Timeline  []timelineItem `xml:"SegmentTimeline>S"`
}

type segmentBase struct {
	Timescale  uint64    `xml:"timescale,attr"`
	IndexRange string    `xml:"indexRange,attr"`
	Init       *urlRange `xml:"Initialization"`
}

type urlRange struct {
	Source string `xml:"sourceURL,attr"`
	Media  string `xml:"media,attr"`
	Range  string `xml:"range,attr"`
	MRange string `xml:"mediaRange,attr"`
}

// parseManifest reads an MPD. Entities and document types are not expanded
// (encoding/xml), so a small document cannot become a large one.
func parseManifest(doc []byte) (*manifest, error) {
	var m manifest
	if err := xml.Unmarshal(doc, &m); err != nil {
		return nil, fmt.Errorf("parse the manifest: %w", err)
	}
	if m.XMLName.Local != "MPD" {
		return nil, fmt.Errorf("the root element is %s, not MPD", clip(m.XMLName.Local))
	}
	n := 0
	for i := range m.Periods {
		for j := range m.Periods[i].Sets {
			n += len(m.Periods[i].Sets[j].Representations)
		}
	}
	if n > maxRenditions {
		return nil, fmt.Errorf("it has more than %d representations", maxRenditions)
	}
	m.times()
	return &m, nil
}

// times places the periods one behind the other where they do not say.
func (m *manifest) times() {
	at := 0.0
	total, _ := parseXMLDuration(m.Duration)
	for i := range m.Periods {
		p := &m.Periods[i]
		if s, err := parseXMLDuration(p.Start); err == nil {
			at = s
		}
		p.start = at
		d, err := parseXMLDuration(p.Duration)
		if err != nil && i+1 < len(m.Periods) {
			if next, e := parseXMLDuration(m.Periods[i+1].Start); e == nil {
				d, err = next-at, nil
			}
		}
		if err != nil && i == len(m.Periods)-1 {
			d = total - at
		}
		p.seconds = math.Max(0, d)
		at += p.seconds
	}
}

var xmlDuration = regexp.MustCompile(`^P(?:(\d{1,6})D)?(?:T(?:(\d{1,6})H)?(?:(\d{1,6})M)?(?:(\d{1,9}(?:\.\d{1,12})?)S)?)?$`)

// parseXMLDuration reads PnDTnHnMnS as seconds; years and months have no
// length in seconds and are refused.
func parseXMLDuration(s string) (float64, error) {
	m := xmlDuration.FindStringSubmatch(s)
	if m == nil || len(s) < 3 {
		return 0, fmt.Errorf("%q is no duration", clip(s))
	}
	var sum float64
	for i, unit := range []float64{86400, 3600, 60, 1} {
		if m[i+1] != "" {
			v, err := strconv.ParseFloat(m[i+1], 64)
			if err != nil {
				return 0, fmt.Errorf("%q is no duration", clip(s))
			}
			sum += v * unit
		}
	}
	return sum, nil
}

// listed is a segment as the manifest has it.
type listed struct {
	Resource       resource
	Number         uint64
	Start, Seconds float64 // Start on the presentation's time line
	Offset         float64 // presentationTimeOffset, in seconds
}

// segments expands the addressing of a representation. base resolves against
// every BaseURL above it.
func (r *representation) segments(base string) (init *resource, out []listed, err error) {
	switch {
	case r.template() != nil:
		return r.template().expand(r, base)
	case r.list() != nil:
		return r.list().expand(r, base)
	}
	return nil, nil, fmt.Errorf("it has neither SegmentTemplate nor SegmentList")
}

func (r *representation) template() *template {
	for _, t := range []*template{r.Template, r.set.Template, r.period.Template} {
		if t != nil {
			return t
		}
	}
	return nil
}

func (r *representation) list() *segmentList {
	if r.List != nil {
		return r.List
	}
	return r.set.List
}

func (r *representation) single() *segmentBase {
	if r.Single != nil {
		return r.Single
	}
	return r.set.Single
}

func (t *template) expand(r *representation, base string) (*resource, []listed, error) {
	scale := float64(max(t.Timescale, 1))
	number := uint64(1)
	if t.Start != nil {
		number = *t.Start
	}
	var out []listed
	add := func(at uint64, d float64) error {
		if len(out) >= maxSegments {
			return fmt.Errorf("it has more than %d segments", maxSegments)
		}
		name, err := fillTemplate(t.Media, r, number, at)
		if err != nil {
			return err
		}
		u, err := resolve(base, name)
		if err != nil {
			return err
		}
		out = append(out, listed{
			Resource: resource{URL: u}, Number: number, Seconds: d,
			Start: r.period.start + (float64(at)-float64(t.Offset))/scale, Offset: float64(t.Offset) / scale,
		})
		number++
		return nil
	}
	err := times(t.Timeline, t.Duration, t.Offset, scale, r.period.seconds, add)
	if err != nil || t.Init == "" {
		return nil, out, err
	}
	name, err := fillTemplate(t.Init, r, 0, 0)
	if err != nil {
		return nil, nil, err
	}
	u, err := resolve(base, name)
	return &resource{URL: u}, out, err
}

// times calls add for each segment of a time line or of a constant duration.
func times(line []timelineItem, duration, offset uint64, scale, seconds float64, add func(at uint64, d float64) error) error {
	if len(line) == 0 {
		if duration == 0 || seconds <= 0 {
			return fmt.Errorf("it has neither a time line nor a duration")
		}
		d := float64(duration) / scale
		for i := uint64(0); float64(i)*d < seconds-1e-6; i++ {
			if err := add(offset+i*duration, math.Min(d, seconds-float64(i)*d)); err != nil {
				return err
			}
		}
		return nil
	}
	at := uint64(0)
	for i, s := range line {
		if s.T != nil {
			at = *s.T
		}
		repeat := s.R
		if repeat < 0 { // until the next one or the end
			end := float64(offset) + seconds*scale
			if i+1 < len(line) && line[i+1].T != nil {
				end = float64(*line[i+1].T)
			}
			if s.D == 0 {
				return fmt.Errorf("its time line has a segment without a duration")
			}
			repeat = int64(math.Min(math.Ceil((end-float64(at))/float64(s.D)-1e-6)-1, maxSegments+1))
		}
		for range repeat + 1 {
			if err := add(at, float64(s.D)/scale); err != nil {
				return err
			}
			at += s.D
		}
	}
	return nil
}

func (l *segmentList) expand(r *representation, base string) (*resource, []listed, error) {
	scale := float64(max(l.Timescale, 1))
	var out []listed
	i := 0
	add := func(at uint64, d float64) error {
		if i >= len(l.URLs) {
			return nil
		}
		ref, err := l.URLs[i].resource(base)
		i++
		out = append(out, listed{Resource: ref, Number: uint64(i), Start: r.period.start + float64(at)/scale, Seconds: d})
		return err
	}
	line := l.Timeline
	if len(line) == 0 && l.Duration == 0 && len(l.URLs) == 1 {
		line = []timelineItem{{D: uint64(r.period.seconds * scale)}}
	}
	if len(l.URLs) > maxSegments {
		return nil, nil, fmt.Errorf("it has more than %d segments", maxSegments)
	}
	if err := times(line, l.Duration, 0, scale, r.period.seconds, add); err != nil {
		return nil, nil, err
	}
	if l.Init == nil {
		return nil, out, nil
	}
	ref, err := l.Init.resource(base)
	return &ref, out, err
}

func (u urlRange) resource(base string) (resource, error) {
	name, span := u.Source+u.Media, u.Range+u.MRange
	out := resource{URL: base}
	if name != "" {
		var err error
		if out.URL, err = resolve(base, name); err != nil {
			return out, err
		}
	}
	if span == "" {
		return out, nil
	}
	from, to, ok := strings.Cut(span, "-")
	a, err1 := strconv.ParseInt(from, 10, 48)
	b, err2 := strconv.ParseInt(to, 10, 48)
	if !ok || err1 != nil || err2 != nil || a < 0 || b < a {
		return out, fmt.Errorf("%q is no range", clip(span))
	}
	out.Offset, out.Length = a, b-a+1
	return out, nil
}

var templateField = regexp.MustCompile(`\$(\w*)(%0(\d{1,2})d)?\$`)

// fillTemplate puts values into a template (5.3.9.4.4).
func fillTemplate(s string, r *representation, number, at uint64) (string, error) {
	var bad error
	out := templateField.ReplaceAllStringFunc(s, func(field string) string {
		m := templateField.FindStringSubmatch(field)
		width, _ := strconv.Atoi(m[3])
		switch m[1] {
		case "":
			return "$"
		case "RepresentationID":
			return r.ID
		case "Number":
			return fmt.Sprintf("%0*d", width, number)
		case "Time":
			return fmt.Sprintf("%0*d", width, at)
		case "Bandwidth":
			return fmt.Sprintf("%0*d", width, r.Bandwidth)
		}
		bad = fmt.Errorf("the template has %s", clip(field))
		return ""
	})
	return out, bad
}

// kind tells what a representation carries (5.3.3, Table 5; RFC 6381).
func (r *representation) kind() kind {
	what := r.set.ContentType
	mime := first(r.MimeType, r.set.MimeType)
	if what == "" {
		what, _, _ = strings.Cut(mime, "/")
	}
	codecs := first(r.Codecs, r.set.Codecs)
	for _, e := range r.set.Essential {
		if e.Scheme == "http://dashif.org/guidelines/trickmode" {
			return iframe
		}
	}
	switch {
	case what == "text" || mime == "application/ttml+xml" || strings.HasPrefix(codecs, "wvtt") || strings.HasPrefix(codecs, "stpp"):
		return text
	case what == "video":
		return video
	case what == "audio":
		return audio
	}
	return other
}

func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}
