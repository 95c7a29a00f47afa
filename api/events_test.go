package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"
)

const eventPatience = 20 * time.Second // bounds every wait; nothing is decided by it when all is well

// stream is an open event stream.
type stream struct {
	t    *testing.T
	res  *http.Response
	in   *bufio.Reader
	stop context.CancelFunc
}

type event struct {
	id, kind, comment string
	job               struct {
		ID, State, Stage string
		Progress         float64
	}
}

func quick(cfg *Config) { cfg.eventPoll, cfg.heartbeat = 2*time.Millisecond, time.Hour }

func (r *rig) events(t *testing.T, base, id string, headers ...string) *stream {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), eventPatience)
	req, err := http.NewRequestWithContext(ctx, "GET", base+"/api/jobs/"+id+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range append(headers, "X-API-Key: "+testAPIKey) {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Add(name, value)
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	s := &stream{t, res, bufio.NewReader(res.Body), func() { cancel(); _ = res.Body.Close() }}
	t.Cleanup(s.stop)
	return s
}

// next reads one event or comment; io.EOF is the orderly end.
func (s *stream) next() (e event, err error) {
	for {
		line, err := s.in.ReadString('\n')
		if err != nil {
			return e, err
		}
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch name {
		case "id":
			e.id = value
		case "event":
			e.kind = value
		case "data":
			if err := json.Unmarshal([]byte(value), &e.job); err != nil {
				s.t.Fatal(err)
			}
		case "":
			if strings.HasPrefix(line, ":") {
				e.comment = value
				continue
			}
			return e, nil
		default:
			s.t.Fatalf("line %q", line)
		}
	}
}

// await reads until an event fits.
func (s *stream) await(what string, fits func(event) bool) event {
	s.t.Helper()
	for {
		e, err := s.next()
		if err != nil {
			s.t.Fatalf("waiting for %s: %v", what, err)
		}
		if fits(e) {
			return e
		}
	}
}

func (s *stream) wantEnd() {
	s.t.Helper()
	if e, err := s.next(); !errors.Is(err, io.EOF) {
		s.t.Errorf("after the end: %+v, %v", e, err)
	}
}

func runningJob(progress float64) Job {
	return Job{ID: "j", Type: "video:full", Hash: hashA, Source: "x", State: "running", Stage: "encode", Progress: progress, CreatedAt: time.Unix(1, 0).UTC()}
}

func endedJob() Job {
	job, at := runningJob(100), time.Unix(9, 0).UTC()
	job.State, job.FinishedAt, job.Results = "succeeded", &at, json.RawMessage("{\n \"a\": 1}")
	return job
}

func TestEventsToTheEnd(t *testing.T) {
	rig := newRig(t, quick)
	rig.jobs.put(runningJob(1))
	s := rig.events(t, rig.url, "j", "Last-Event-ID: something-old")
	for name, want := range map[string]string{
		"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no", "X-Content-Type-Options": "nosniff",
	} {
		if got := s.res.Header.Get(name); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
	first, err := s.next()
	if err != nil || first.kind != "job" || first.job.State != "running" || first.job.Progress != 1 || first.id == "" {
		t.Fatalf("%+v, %v", first, err)
	}
	looks := rig.jobs.looked()
	rig.jobs.awaitLooks(t, looks+3) // nothing changes, so nothing is sent
	rig.jobs.put(runningJob(2))
	second, err := s.next()
	if err != nil || second.job.Progress != 2 || second.id == first.id {
		t.Fatalf("%+v, %v", second, err)
	}
	rig.jobs.put(endedJob())
	last, err := s.next()
	if err != nil || last.job.State != "succeeded" || last.job.Progress != 100 {
		t.Fatalf("%+v, %v", last, err)
	}
	s.wantEnd()

	// Afterwards: the last event alone; with its id, nothing more.
	again := rig.events(t, rig.url, "j")
	if e, err := again.next(); err != nil || e.id != last.id {
		t.Errorf("%+v, %v", e, err)
	}
	again.wantEnd()
	key := "X-API-Key: " + testAPIKey
	if a := rig.do("GET", "/api/jobs/j/events", "", key, "Last-Event-ID: "+last.id); a.StatusCode != http.StatusNoContent {
		t.Errorf("come back after the end: %d", a.StatusCode)
	}
	if a := rig.do("HEAD", "/api/jobs/j/events", "", key); a.StatusCode != http.StatusOK {
		t.Errorf("HEAD: %d", a.StatusCode)
	}
	if a := rig.do("GET", "/api/jobs/j/events", "", key); a.StatusCode != http.StatusOK || !strings.Contains(string(a.body), "event: job\n") {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	for path, status := range map[string]int{"nobody": 404, "a%20b": 404} {
		if a := rig.do("GET", "/api/jobs/"+path+"/events", "", key); a.StatusCode != status || a.code() != "job_not_found" {
			t.Errorf("%s: %d %s", path, a.StatusCode, a.body)
		}
	}
	if a := rig.do("GET", "/api/jobs/j/events", ""); a.StatusCode != http.StatusUnauthorized {
		t.Errorf("without a key: %d", a.StatusCode)
	}
}

// Many listeners share one poller, also on several jobs, and all get the end.
func TestManyListenersOnePoller(t *testing.T) {
	rig := newRig(t, quick)
	rig.jobs.put(runningJob(1))
	other := runningJob(1)
	other.ID = "other"
	rig.jobs.put(other)
	const n = 40
	var streams []*stream
	for i := range n {
		s := rig.events(t, rig.url, []string{"j", "other"}[i%2])
		s.await("the present state", func(e event) bool { return e.job.State == "running" })
		streams = append(streams, s)
	}
	rig.jobs.awaitLooks(t, rig.jobs.looked()+5)
	if most := rig.jobs.mostAtOnce(); most != 1 {
		t.Errorf("%d looks at once", most)
	}
	ended := endedJob()
	rig.jobs.put(ended)
	ended.ID = "other"
	rig.jobs.put(ended)
	var wg sync.WaitGroup
	for _, s := range streams {
		wg.Go(func() {
			s.await("the end", func(e event) bool { return e.job.State == "succeeded" })
			s.wantEnd()
		})
	}
	wg.Wait()
}

func TestHeartbeatAndTimeouts(t *testing.T) {
	rig := newRig(t, func(cfg *Config) { cfg.eventPoll, cfg.heartbeat = time.Millisecond, 60*time.Millisecond })
	rig.jobs.put(runningJob(1))
	server := NewServer("", rig.server.Config.Handler)
	server.ReadTimeout, server.WriteTimeout = 50*time.Millisecond, 50*time.Millisecond
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = server.Serve(l) }()
	defer func() { _ = server.Close() }()
	s := rig.events(t, "http://"+l.Addr().String(), "j")
	for range 6 { // several times the server's timeouts
		s.await("a heartbeat", func(e event) bool { return e.comment != "" })
	}
	rig.jobs.put(endedJob())
	s.await("the end", func(e event) bool { return e.job.State == "succeeded" })
	s.wantEnd()
}

func TestEventStreamsAreBounded(t *testing.T) {
	rig := newRig(t, quick, func(cfg *Config) { cfg.EventStreams = 2 })
	rig.jobs.put(runningJob(1))
	a, b := rig.events(t, rig.url, "j"), rig.events(t, rig.url, "j")
	for _, s := range []*stream{a, b} {
		s.await("the present state", func(event) bool { return true })
	}
	full := rig.do("GET", "/api/jobs/j/events", "", "X-API-Key: "+testAPIKey)
	if full.StatusCode != http.StatusServiceUnavailable || full.code() != "too_many_streams" || full.Header.Get("Retry-After") == "" {
		t.Errorf("%d %s", full.StatusCode, full.body)
	}
	a.stop()
	rig.awaitStreams(t, 1)
	rig.events(t, rig.url, "j").await("the present state", func(event) bool { return true })
}

func (r *rig) awaitStreams(t *testing.T, want int) {
	t.Helper()
	name := "sealcast_event_streams"
	text := fmt.Sprintf("# HELP %s Event streams of jobs that are open.\n# TYPE %s gauge\n%s %d\n", name, name, name, want)
	for end := time.Now().Add(eventPatience); ; time.Sleep(time.Millisecond) {
		err := testutil.GatherAndCompare(r.reg, strings.NewReader(text), name)
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

// A client that leaves frees its stream, the last one the poller too.
func TestLeavingFreesEverything(t *testing.T) {
	rig := newRig(t, quick)
	rig.jobs.put(runningJob(1))
	before := goleak.IgnoreCurrent()
	for range 3 {
		s := rig.events(t, rig.url, "j")
		s.await("the present state", func(event) bool { return true })
		rig.jobs.awaitLooks(t, rig.jobs.looked()+1)
		s.stop()
	}
	rig.awaitStreams(t, 0)
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	if err := goleak.Find(before); err != nil {
		t.Error(err)
	}
}

// A shutdown ends streams in good order and lets no new ones in.
func TestShutdownEndsStreams(t *testing.T) {
	rig := newRig(t, quick)
	rig.jobs.put(runningJob(1))
	server := NewServer("", rig.server.Config.Handler)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	s := rig.events(t, "http://"+l.Addr().String(), "j")
	s.await("the present state", func(event) bool { return true })
	ctx, cancel := context.WithTimeout(t.Context(), eventPatience)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		t.Errorf("shutdown: %v", err)
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		t.Error(err)
	}
	for {
		if _, err := s.next(); err != nil {
			if !errors.Is(err, io.EOF) {
				t.Errorf("the stream was cut: %v", err)
			}
			break
		}
	}
	if a := rig.do("GET", "/api/jobs/j/events", "", "X-API-Key: "+testAPIKey); a.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a new stream: %d", a.StatusCode)
	}
}

// An outage of the database ends no stream; a job that is gone does.
func TestEventsThroughAnOutage(t *testing.T) {
	rig := newRig(t, quick)
	rig.jobs.put(runningJob(1))
	s := rig.events(t, rig.url, "j")
	s.await("the present state", func(event) bool { return true })
	rig.jobs.fail(errors.New("away"))
	rig.jobs.awaitLooks(t, rig.jobs.looked()+3)
	rig.jobs.put(runningJob(5))
	rig.jobs.fail(nil)
	s.await("news after the outage", func(e event) bool { return e.job.Progress == 5 })
	rig.jobs.remove("j")
	s.wantEnd()
	if n := strings.Count(rig.log.String(), "event streams have no news"); n != 1 {
		t.Errorf("%d log lines", n)
	}
}
