package pipeline

import (
	"bytes"
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sealcast/sealcast/internal/proc"
)

// packetScan is what a stream's packets say of it, for containers that do not:
// recordings of browsers and piped files have no durations.
type packetScan struct {
	packets int64
	end     time.Duration // on the container's clock
}

// firstPackets is how far into a source a stream must have begun to count as
// one that is not empty without reading the whole.
const firstPackets = "%+30"

// scanArgs returns ffprobe's arguments to list packets, of an interval or, when
// it is empty, of the whole source.
func scanArgs(url string, c Container, interval string) []string {
	args := []string{
		"-hide_banner", "-loglevel", "error",
		"-show_entries", "packet=stream_index,pts_time,dts_time,duration_time", "-print_format", "compact=print_section=0",
	}
	if interval != "" {
		args = append(args, "-read_intervals", interval)
	}
	return append(append(args, inputArgs(c)...), "-i", url)
}

// complete finds out what the container left unsaid: when streams end, and
// whether audio streams hold anything at all. It reads the whole source only
// where there is no other way.
func (a *attempt) complete(ctx context.Context, src *Source) error {
	silent := slices.ContainsFunc(src.Audio, func(s AudioSource) bool { return !s.Heard })
	if src.Duration > 0 && !silent {
		return nil
	}
	if src.Duration > 0 {
		seen, err := a.scan(ctx, src.Container, firstPackets)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(src.Audio, func(s AudioSource) bool { return seen[s.Index].packets == 0 }) {
			return nil
		}
	}
	seen, err := a.scan(ctx, src.Container, "")
	if err != nil {
		return err
	}
	src.fill(seen)
	return nil
}

// fill adds what a scan of the whole source found. Audio streams without a
// packet are left out.
func (s *Source) fill(seen map[int]packetScan) {
	end := func(said time.Duration, index int) time.Duration {
		if said > 0 {
			return said
		}
		return max(0, seen[index].end-s.Start)
	}
	if !s.pictureless() {
		s.Video.Duration = end(s.Video.Duration, s.Video.Index)
	}
	longest := s.Video.Duration
	s.Audio = slices.DeleteFunc(s.Audio, func(a AudioSource) bool { return seen[a.Index].packets == 0 })
	for i := range s.Audio {
		s.Audio[i].Duration = end(s.Audio[i].Duration, s.Audio[i].Index)
		longest = max(longest, s.Audio[i].Duration)
	}
	s.Duration = longest
}

func (a *attempt) scan(ctx context.Context, c Container, interval string) (map[int]packetScan, error) {
	lines := &packetLines{seen: map[int]packetScan{}}
	_, err := a.child(ctx, proc.Spec{
		Name: "ffprobe", Path: a.cfg.FFprobe, Args: scanArgs(a.sourceURL(), c, interval), Stdout: lines,
	})
	return lines.seen, a.probeVerdict(err)
}

// packetLines reads ffprobe's list of packets as it is written.
type packetLines struct {
	seen map[int]packetScan
	rest []byte // a line that has not ended
}

// Write implements io.Writer.
func (l *packetLines) Write(p []byte) (int, error) {
	l.rest = append(l.rest, p...)
	for {
		line, rest, whole := bytes.Cut(l.rest, []byte("\n"))
		if !whole {
			break
		}
		l.line(string(line))
		l.rest = rest
	}
	if len(l.rest) > 4096 { // no line of ours
		l.rest = nil
	}
	return len(p), nil
}

// line reads one packet: stream_index=0|pts_time=0.080000|….
func (l *packetLines) line(s string) {
	value := map[string]string{}
	for field := range strings.SplitSeq(strings.TrimSpace(s), "|") {
		k, v, _ := strings.Cut(field, "=")
		value[k] = v
	}
	index, err := strconv.Atoi(value["stream_index"])
	if err != nil || index < 0 || index > 1000 {
		return
	}
	scan := l.seen[index]
	scan.packets++
	at := value["pts_time"]
	if at == "" || at == "N/A" {
		at = value["dts_time"]
	}
	scan.end = max(scan.end, seconds(at)+max(0, seconds(value["duration_time"])))
	l.seen[index] = scan
}
