package browsertest

import (
	"bufio"
	"bytes"
	"context"
	_ "embed" // the script
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"time"
)

// gstScript drives playbin3: gst-launch-1.0 and gst-play-1.0 set no property
// while they play.
//
//go:embed gstreamer_watch.py
var gstScript string

// gstWatch plays in real time and tells GStreamer how fast its connection is.
func gstWatch(ctx context.Context, m Media, renew Renew, dir string) (views []View, err error) {
	again := "no"
	if renew != nil {
		again = "yes"
	}
	cmd := process(ctx, dir, "/usr/bin/python3", "-c", gstScript, m.URL, strconv.Itoa(m.Ends.Best), again)
	var said bytes.Buffer
	cmd.Stderr = &said
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	fault := gstViews(ctx, in, out, renew, dir, &views)
	_ = in.Close()
	if err := errors.Join(fault, cmd.Wait()); err != nil {
		text := said.String()
		return views, fmt.Errorf("%w: %s", err, text[max(0, len(text)-300):])
	}
	return views, nil
}

func gstViews(ctx context.Context, in io.Writer, out io.Reader, renew Renew, dir string, views *[]View) error {
	fresh := false
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var e struct {
			At    float64
			File  string
			Fault string
			Renew bool
		}
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return fmt.Errorf("%q: %w", lines.Bytes(), err)
		}
		switch {
		case e.Fault != "":
			return errors.New(e.Fault)
		case e.Renew:
			next, err := renew(ctx)
			if err != nil {
				return err
			}
			if _, err := fmt.Fprintf(in, "%s\n", next.URL); err != nil {
				return err
			}
			fresh = true
		default:
			img, err := ReadImage(filepath.Join(dir, e.File))
			if err != nil {
				return err
			}
			*views = append(*views, View{time.Duration(e.At), img, fresh, time.Now()})
		}
	}
	return lines.Err()
}
