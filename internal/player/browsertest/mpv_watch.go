package browsertest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"time"
)

// mpvControl is mpv's JSON IPC.
type mpvControl struct {
	conn net.Conn
	in   *json.Decoder
	id   int
}

// openMPV waits until mpv has made its socket.
func openMPV(ctx context.Context, socket string) (*mpvControl, error) {
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
		if err == nil {
			end, _ := ctx.Deadline()
			return &mpvControl{conn: conn, in: json.NewDecoder(conn)}, conn.SetDeadline(end)
		}
		if ctx.Err() != nil {
			return nil, err
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// errMPV is what mpv answers to a command; the connection stands.
type errMPV string

func (e errMPV) Error() string { return string(e) }

// do sends a command and reads its answer into data, if that is not nil.
func (c *mpvControl) do(data any, args ...any) error {
	c.id++
	if err := json.NewEncoder(c.conn).Encode(map[string]any{"command": args, "request_id": c.id}); err != nil {
		return err
	}
	for {
		var a struct {
			ID    int `json:"request_id"`
			Error string
			Data  json.RawMessage
			Event string
		}
		if err := c.in.Decode(&a); err != nil {
			return fmt.Errorf("it has ended: %w", err)
		}
		switch {
		case a.Event != "" || a.ID != c.id:
		case a.Error != "success":
			return fmt.Errorf("%v: %w", args, errMPV(a.Error))
		case data != nil:
			return json.Unmarshal(a.Data, data)
		default:
			return nil
		}
	}
}

// await reads until an event comes.
func (c *mpvControl) await(event string) error {
	for {
		var a struct{ Event string }
		if err := c.in.Decode(&a); err != nil {
			return fmt.Errorf("no %s: %w", event, err)
		}
		if a.Event == event {
			return nil
		}
	}
}

// other is a video track with another height than the one that is shown; both
// by their ids.
func (c *mpvControl) other() (shown, other int, err error) {
	var tracks []struct {
		Type     string
		ID       int
		Height   int `json:"demux-h"`
		Selected bool
	}
	if err := c.do(&tracks, "get_property", "track-list"); err != nil {
		return 0, 0, err
	}
	height := 0
	for _, t := range tracks {
		if t.Type == "video" && t.Selected {
			shown, height = t.ID, t.Height
		}
	}
	for _, t := range tracks {
		if t.Type == "video" && t.Height != height {
			return shown, t.ID, nil
		}
	}
	return 0, 0, fmt.Errorf("no other rendition among %+v", tracks)
}

// mpvWatch plays in real time and is driven by IPC: renditions are mpv's video
// tracks.
func mpvWatch(ctx context.Context, m Media, renew Renew, dir string) (views []View, err error) {
	socket := filepath.Join(dir, "ipc")
	args := append(mpvArgs(m), "--vo=null", "--ao=null", "--hr-seek=yes", "--hr-seek-demuxer-offset=10", "--input-ipc-server="+socket, m.URL)
	cmd := process(ctx, dir, "mpv", args...)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx) // until it has ended
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		cancel()
		close(ended)
	}()
	defer func() {
		<-ended
		if text := said.String(); err != nil {
			err = fmt.Errorf("%w: %s", err, strings.TrimSpace(text[max(0, len(text)-300):]))
		}
	}()
	c, err := openMPV(ctx, socket)
	if err != nil {
		return nil, err
	}
	defer func() {
		_ = c.do(nil, "quit")
		_ = c.conn.Close()
	}()
	var at time.Duration
	play := func(until time.Duration, fresh bool) error {
		for at = 0; at < until; time.Sleep(200 * time.Millisecond) {
			var pos float64
			file := filepath.Join(dir, fmt.Sprintf("v%03d.png", len(views)))
			err := c.do(&pos, "get_property", "time-pos")
			if err == nil {
				err = c.do(nil, "screenshot-to-file", file, "video")
			}
			if errors.As(err, new(errMPV)) && ctx.Err() == nil {
				continue // it is loading
			}
			if err != nil {
				return err
			}
			img, err := ReadImage(file)
			if err != nil {
				return err
			}
			at = seconds(pos)
			views = append(views, View{at, img, fresh, time.Now()})
		}
		return nil
	}
	if err := play(2500*time.Millisecond, false); err != nil {
		return views, err
	}
	shown, other, err := c.other()
	if err != nil {
		return views, err
	}
	for i, track := range []int{other, shown} {
		if err := c.do(nil, "set_property", "vid", track); err != nil {
			return views, err
		}
		if err := play(at+2500*time.Millisecond, false); err != nil {
			return views, fmt.Errorf("%w, change %d: %w", ErrChange, i+1, err)
		}
	}
	if renew == nil {
		return views, nil
	}
	from := at
	next, err := renew(ctx)
	if err != nil {
		return views, err
	}
	if next.Header != "" {
		if err := c.do(nil, "set_property", "http-header-fields", next.Header); err != nil {
			return views, err
		}
	}
	if err := c.do(nil, "loadfile", next.URL, "replace", fmt.Sprintf("start=%.3f", from.Seconds())); err != nil {
		return views, err
	}
	if err := errors.Join(c.await("file-loaded"), c.await("playback-restart")); err != nil {
		return views, err
	}
	return views, play(from+goOn, true)
}
