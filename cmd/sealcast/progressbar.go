package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/term"
)

// progress is a moment of something that takes time.
type progress struct {
	label   string        // the stage, or what is being done
	percent float64       // 0–100
	eta     time.Duration // < 0: unknown
}

// console writes to a terminal or a file. On a terminal it keeps a progress
// bar in the last line, below everything that is written; elsewhere it writes
// a line per stage and per ten per cent. It may be used by many goroutines.
type console struct {
	mu     sync.Mutex
	out    io.Writer
	live   bool
	width  func() int
	bar    string // the bar that stands in the terminal's last line now
	label  string // of the last line written elsewhere
	decile int
}

// newConsole returns a console on out, live when out is a terminal.
func newConsole(out io.Writer) *console {
	c := &console{out: out, width: func() int { return 80 }, decile: -1}
	if f, ok := out.(*os.File); ok && isTerminal(out) {
		c.live = true
		c.width = func() int {
			if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 0 {
				return w
			}
			return 80
		}
	}
	return c
}

// isTerminal reports whether w is a terminal that can move its cursor.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && os.Getenv("TERM") != "dumb" && term.IsTerminal(int(f.Fd()))
}

// Write implements io.Writer. Whole lines are expected, as loggers and
// Fprintln write them; the bar makes room and comes back.
func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	bar := c.bar
	c.clear()
	n, err := c.out.Write(p)
	if bar != "" {
		c.draw(bar)
	}
	return n, err
}

func (c *console) printf(format string, args ...any) { fmt.Fprintf(c, format, args...) }

// progress shows p.
func (c *console) progress(p progress) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.live {
		bar := renderBar(p, c.width()-1)
		if bar != c.bar {
			c.clear()
			c.draw(bar)
		}
		return
	}
	if d := int(p.percent) / 10; p.label != c.label || d != c.decile {
		c.label, c.decile = p.label, d
		fmt.Fprintln(c.out, renderLine(p))
	}
}

// transient shows p on a terminal and nothing elsewhere: for what is short.
func (c *console) transient(p progress) {
	if c.live {
		c.progress(p)
	}
}

// end removes the bar.
func (c *console) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clear()
	c.label, c.decile = "", -1
}

func (c *console) draw(bar string) {
	c.bar = bar
	_, _ = io.WriteString(c.out, bar)
}

func (c *console) clear() {
	if c.bar != "" {
		_, _ = io.WriteString(c.out, "\r\x1b[2K")
		c.bar = ""
	}
}

const labelWidth = 10

// renderBar draws p in at most width columns: label, bar, per cent, ETA.
func renderBar(p progress, width int) string {
	tail := fmt.Sprintf(" %5.1f %%", clamp(p.percent))
	if p.eta >= 0 {
		tail += "  " + shortDuration(p.eta) + " left"
	}
	head := fmt.Sprintf("%-*s ", labelWidth, p.label)
	cells := min(width-utf8.RuneCountInString(head)-utf8.RuneCountInString(tail), 50)
	if cells < 4 {
		return truncate(strings.TrimRight(p.label, " ")+tail, width)
	}
	full := int(clamp(p.percent) / 100 * float64(cells))
	return head + strings.Repeat("█", full) + strings.Repeat("░", cells-full) + tail
}

// renderLine writes p for a file or a pipe.
func renderLine(p progress) string {
	s := fmt.Sprintf("%-*s %3.0f %%", labelWidth, p.label, clamp(p.percent))
	if p.eta >= 0 {
		s += "  " + shortDuration(p.eta) + " left"
	}
	return s
}

func clamp(percent float64) float64 { return min(max(percent, 0), 100) }

func truncate(s string, width int) string {
	r := []rune(s)
	return string(r[:min(len(r), max(width, 0))])
}

// shortDuration writes whole seconds: 7s, 3m07s, 2h05m.
func shortDuration(d time.Duration) string {
	s := int64(d.Round(time.Second) / time.Second)
	switch {
	case s < 60:
		return fmt.Sprintf("%ds", s)
	case s < 3600:
		return fmt.Sprintf("%dm%02ds", s/60, s%60)
	}
	return fmt.Sprintf("%dh%02dm", s/3600, s%3600/60)
}
