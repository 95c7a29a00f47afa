package api

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sealcast/sealcast/internal/cenc"
)

// The words of the wire, as openapi.yaml has them.
var (
	jobStates = []string{"queued", "running", "succeeded", "failed", "cancelled"}
	jobTypes  = []string{"video:transcode", "video:full", "video:cover", "video:preview", "video:storyboard", "video:text", "video:plan"}
)

const (
	defaultPage = 50
	maxPage     = 200
)

// JobFilter says which jobs a list has.
type JobFilter struct {
	States []string // empty: all
	Types  []string // empty: all
	Hash   string   // empty: every asset
	After  *JobPosition
	Limit  int
}

// JobPosition is a job's place in a list, newest first.
type JobPosition struct {
	CreatedAt time.Time
	ID        string
}

// listJobs gives one page of jobs, newest first, and the cursor of the next.
func (s *server) listJobs(w http.ResponseWriter, r *http.Request) error {
	filter, err := parseJobFilter(r.URL.RawQuery)
	if err != nil {
		return err
	}
	limit := filter.Limit
	filter.Limit++ // one more tells whether there is a next page
	jobs, err := s.Jobs.List(r.Context(), filter)
	if err != nil {
		return s.jobError(r, err)
	}
	page := struct {
		Jobs       []wireJob `json:"jobs"`
		NextCursor *string   `json:"next_cursor"`
	}{Jobs: []wireJob{}}
	if len(jobs) > limit {
		jobs = jobs[:limit]
		last := jobs[limit-1]
		cursor := JobPosition{last.CreatedAt, last.ID}.cursor()
		page.NextCursor = &cursor
	}
	for _, job := range jobs {
		page.Jobs = append(page.Jobs, job.wire())
	}
	return writeJSON(w, http.StatusOK, page)
}

func parseJobFilter(rawQuery string) (JobFilter, error) {
	f := JobFilter{Limit: defaultPage}
	query, err := url.ParseQuery(rawQuery)
	if err != nil {
		return f, invalidRequest("the query is malformed")
	}
	for name, values := range query {
		if (name != "state" && name != "type") && len(values) > 1 {
			return f, invalidRequest(fmt.Sprintf("%s: stands there twice", shorten(name)))
		}
		switch name {
		case "state":
			f.States, err = words(name, values, jobStates)
		case "type":
			f.Types, err = words(name, values, jobTypes)
		case "hash":
			if f.Hash = values[0]; !cenc.IsHash(f.Hash) {
				err = invalidRequest("hash: want 64 lower-case hex digits")
			}
		case "limit":
			if f.Limit, err = strconv.Atoi(values[0]); err != nil || f.Limit < 1 || f.Limit > maxPage {
				err = invalidRequest(fmt.Sprintf("limit: want a whole number from 1 to %d", maxPage))
			}
		case "cursor":
			f.After, err = parseCursor(values[0])
		default:
			err = invalidRequest(fmt.Sprintf("unknown parameter %q", shorten(name)))
		}
		if err != nil {
			return f, err
		}
	}
	return f, nil
}

// words takes a parameter that may repeat and have several values by comma.
func words(name string, values, known []string) ([]string, error) {
	var out []string
	for _, word := range strings.Split(strings.Join(values, ","), ",") {
		if !slices.Contains(known, word) {
			return nil, invalidRequest(fmt.Sprintf("%s: want %s, one or several by comma", name, strings.Join(known, ", ")))
		}
		if !slices.Contains(out, word) {
			out = append(out, word)
		}
	}
	return out, nil
}

// cursor names a position. Clients keep it as it is.
func (p JobPosition) cursor() string {
	return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "1 %d %s", p.CreatedAt.UnixMicro(), p.ID))
}

func parseCursor(s string) (*JobPosition, error) {
	bad := invalidRequest("cursor: want next_cursor of the page before, as it was")
	raw, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil {
		return nil, bad
	}
	version, rest, _ := strings.Cut(string(raw), " ")
	micros, id, _ := strings.Cut(rest, " ")
	n, err := strconv.ParseInt(micros, 10, 64)
	if err != nil || version != "1" || n < 0 || n > maxMicros || !jobIDPattern.MatchString(id) {
		return nil, bad
	}
	return &JobPosition{time.UnixMicro(n).UTC(), id}, nil
}

const maxMicros = 253402300799_999999 // the end of the year 9999, which Postgres still takes
