package pipeline

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sealcast/sealcast/internal/proc"
	"github.com/sealcast/sealcast/internal/sandbox"
)

// chooseSandbox takes the best sandbox in which the tools run and says which.
func chooseSandbox(cfg Config) (*sandbox.Sandbox, error) {
	box, err := sandbox.Choose(context.Background(), cfg.Sandbox, cfg.FFmpeg, cfg.FFprobe, cfg.Packager)
	if err != nil {
		return nil, fmt.Errorf("confine the tools: %w", err)
	}
	for _, why := range box.Refused {
		cfg.Log.Warn("sandbox refused", "reason", why)
	}
	level := slog.LevelInfo
	if box.Level != sandbox.Full {
		level = slog.LevelWarn
	}
	cfg.Log.Log(context.Background(), level, "sandbox chosen", "level", box.Level, "user", box.User)
	return box, nil
}

// showSandbox puts the level into a metric.
func showSandbox(reg prometheus.Registerer, chosen sandbox.Level) {
	levels := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "sealcast_sandbox_level", Help: "1 for the level that children are confined at: full, files, limits or off.",
	}, []string{"level"})
	for _, level := range sandbox.Levels {
		levels.WithLabelValues(string(level)).Set(0)
	}
	levels.WithLabelValues(string(chosen)).Set(1)
	if reg != nil {
		reg.MustRegister(levels)
	}
}

// start starts a child in the sandbox.
func (a *attempt) start(ctx context.Context, spec proc.Spec) (*proc.Process, error) {
	allow := sandbox.Allowance{CPU: a.budget * time.Duration(runtime.NumCPU()), Memory: a.cfg.ChildMemory}
	// Who is not told of our endpoint needs no network at all.
	for _, arg := range spec.Args {
		if strings.Contains(arg, a.loop.base) {
			allow.Port = a.loop.port
		}
	}
	spec.Nice = max(spec.Nice, a.req.Nice)
	return proc.Start(ctx, a.box.Confine(spec, allow))
}
