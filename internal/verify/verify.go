package verify

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sealcast/sealcast/internal/sandbox"
)

// Config says what to verify, and how hard.
type Config struct {
	URL   string // of a multivariant or media playlist or of a manifest; http or https
	Token string // playback token for key routes; empty: none
	// KeyOrigin is the only origin that gets the token. Empty: the URL's.
	KeyOrigin string
	// Origin is the page's origin to ask as (CORS). Empty: CORS is not checked.
	Origin string
	// Parallel is how many renditions are fetched and decoded at once, each
	// with one segment in memory. 0: as many as there are processors, at most 4.
	Parallel int
	Timeout  time.Duration // of one request; 0: 30 s
	Budget   time.Duration // CPU time of one ffmpeg; 0: 2 h
	FFmpeg   string        // 0: looked up in PATH
	Sandbox  sandbox.Mode  // empty: auto
	// Progress is told the share of segments that are through, 0 to 100. It
	// may be called from several goroutines, one at a time.
	Progress func(percent float64)
}

// ErrUnreachable means that the entry document could not be had or read.
var ErrUnreachable = errors.New("nothing to verify")

// Run plays the presentation behind the address and judges it. An error means
// that it could not be judged; what is wrong with it is in the report.
func Run(ctx context.Context, c Config) (*Report, error) {
	entry, err := url.Parse(c.URL)
	if err != nil || (entry.Scheme != "http" && entry.Scheme != "https") || entry.Host == "" {
		return nil, fmt.Errorf("%w: %q is no http or https address", ErrUnreachable, clip(c.URL))
	}
	if err := c.complete(); err != nil {
		return nil, err
	}
	box, err := sandbox.Choose(ctx, c.Sandbox, c.FFmpeg)
	if err != nil {
		return nil, fmt.Errorf("confine ffmpeg: %w", err)
	}
	began := time.Now()
	g := &gatherer{cfg: c, client: newClient(c, entry), tool: tool{c.FFmpeg, box}}
	g.keys = newKeyring(g.client)
	p, err := g.open(ctx)
	if err != nil {
		return nil, err
	}
	if err := g.renditions(ctx, p); err != nil {
		return nil, err
	}
	p.Keys = g.keys.all()
	p.Probes = probeKeys(ctx, g.client, p.Keys)
	if c.Origin != "" {
		for _, k := range p.Keys {
			if !strings.HasPrefix(k.URI, "data:") {
				p.Preflights = append(p.Preflights, preflight(ctx, g.client, k.URI, k.method()))
			}
		}
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return judge(p, time.Since(began), box.Level), nil
}

func (c *Config) complete() error {
	if c.FFmpeg == "" {
		c.FFmpeg = "ffmpeg"
	}
	path, err := exec.LookPath(c.FFmpeg)
	if err != nil {
		return fmt.Errorf("ffmpeg is missing (apt-get install ffmpeg): %w", err)
	}
	c.FFmpeg = path
	if c.Parallel <= 0 {
		c.Parallel = min(4, runtime.NumCPU())
	}
	if c.Timeout <= 0 {
		c.Timeout = 30 * time.Second
	}
	if c.Budget <= 0 {
		c.Budget = 2 * time.Hour
	}
	if c.Sandbox == "" {
		c.Sandbox = sandbox.Auto
	}
	if c.Progress == nil {
		c.Progress = func(float64) {}
	}
	return nil
}

// renditions fetches, decrypts and decodes every rendition.
func (g *gatherer) renditions(ctx context.Context, p *presentation) error {
	for _, r := range p.Renditions {
		g.total += len(r.Segments)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(g.cfg.Parallel)
	for _, r := range p.Renditions {
		group.Go(func() error { return g.rendition(ctx, r) })
	}
	return group.Wait()
}
