package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
)

// What works is a fact about the host: each question is asked once.
var known = struct {
	sync.Mutex
	boxes map[string]*Sandbox // by mode and tools
}{boxes: map[string]*Sandbox{}}

// Choose returns the best sandbox that keeps its promise here and in which
// every tool starts. With Require it is Full or an error.
func Choose(ctx context.Context, mode Mode, tools ...string) (*Sandbox, error) {
	if mode == Disable {
		return &Sandbox{Level: Off}, nil
	}
	if !hooked.Load() {
		return nil, errNoHook // a child would be this whole program again
	}
	known.Lock()
	defer known.Unlock()
	name := strings.Join(append([]string{string(mode)}, tools...), "\n")
	if s := known.boxes[name]; s != nil {
		return s, nil
	}
	var refused []error
	for _, s := range candidates(mode, os.Getuid() == 0) {
		err := s.try(ctx, tools)
		if err == nil {
			s.Refused = refused
			known.boxes[name] = s
			return s, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		refused = append(refused, fmt.Errorf("level %s as user %d: %w", s.Level, s.User, err))
	}
	return nil, fmt.Errorf("no sandbox that SANDBOX=%s allows works on this host: %w", mode, errors.Join(refused...))
}

// candidates lists what is tried, best first.
func candidates(mode Mode, root bool) (out []*Sandbox) {
	levels := []Level{Full, Files, Limits}
	if mode == Require {
		levels = levels[:1]
	}
	for _, level := range levels {
		if root {
			out = append(out, &Sandbox{Level: level, User: nobody})
		}
		out = append(out, &Sandbox{Level: level})
	}
	return out
}
