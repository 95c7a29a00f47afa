package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

const (
	defaultHeartbeat = 15 * time.Second
	eventTimeout     = 10 * time.Second // for one event to go out
)

// eventStream writes server-sent events (WHATWG HTML, 9.2).
type eventStream struct {
	w    http.ResponseWriter
	conn *http.ResponseController
	last string // id of the last event
}

// getEvents streams a job: how it stands now, then each change, until it has
// ended. A client that comes back after the last event gets 204, which tells
// an EventSource not to come again.
func (s *server) getEvents(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("id")
	if !jobIDPattern.MatchString(id) {
		return s.jobError(r, ErrNotFound)
	}
	leave, err := s.hub.enter()
	if err != nil {
		return err
	}
	defer leave()
	ctx, cancel := context.WithTimeout(r.Context(), lookupTimeout)
	defer cancel()
	job, err := s.Jobs.Get(ctx, id)
	if err != nil {
		return s.jobError(r, err)
	}
	_, event, err := encodeEvent(job)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if job.ended() && r.Header.Get("Last-Event-ID") == event {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no") // nginx would hold events back
	if r.Method == http.MethodHead {
		return nil
	}
	// From here on the answer has begun: it can end, but tell no error.
	stream := &eventStream{w: w, conn: http.NewResponseController(w)}
	defer stream.extend()
	if stream.job(job) {
		s.follow(r.Context(), stream, id)
	}
	return nil
}

// follow streams until the job or the connection has ended, or the server is
// to end.
func (s *server) follow(ctx context.Context, stream *eventStream, id string) {
	l, leave := s.hub.listen(id)
	defer leave()
	heartbeat := time.NewTicker(s.heartbeat)
	defer heartbeat.Stop()
	for {
		var goOn bool
		select {
		case <-ctx.Done():
			return
		case <-s.hub.draining:
			return
		case job := <-l.news:
			goOn = job != nil && stream.job(*job)
		case <-heartbeat.C:
			goOn = stream.send([]byte(": still here\n\n"))
		}
		if !goOn {
			return
		}
	}
}

// job sends a job unless it stands as it did. It reports whether more may
// follow.
func (e *eventStream) job(job Job) bool {
	data, id, err := encodeEvent(job)
	if err != nil {
		return false
	}
	if id == e.last {
		return true
	}
	e.last = id
	return e.send(fmt.Appendf(nil, "id: %s\nevent: job\ndata: %s\n\n", id, data)) && !job.ended()
}

// send writes through to the client. A client that does not read ends here.
func (e *eventStream) send(event []byte) bool {
	e.extend()
	if _, err := e.w.Write(event); err != nil {
		return false
	}
	return e.conn.Flush() == nil
}

// extend moves the write deadline, which the server's timeouts have set.
func (e *eventStream) extend() { _ = e.conn.SetWriteDeadline(time.Now().Add(eventTimeout)) }

// encodeEvent gives a job's document and an id that follows from it.
func encodeEvent(job Job) (data []byte, id string, err error) {
	data, err = json.Marshal(job.wire())
	if err != nil {
		return nil, "", internalError(fmt.Errorf("encode event: %w", err))
	}
	sum := sha256.Sum256(data)
	return bytes.TrimSpace(data), fmt.Sprintf("%x", sum[:8]), nil
}
