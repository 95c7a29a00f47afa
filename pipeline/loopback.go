package pipeline

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// loopback is the one HTTP endpoint that the children of an attempt know: the
// source by range reads and the sink for what the packagers write. Its paths
// begin with 128 random bits, for anything on this machine can connect to it.
// The children have the paths in their arguments, which other users of this
// machine may be able to read (proc(5), hidepid): what could be slipped in that
// way does not pass the gate, which compares playlists, manifest, keys and
// pictures with what was encoded; but the source could be read.
type loopback struct {
	server *http.Server
	base   string // http://127.0.0.1:port/<secret>
	port   int
}

func newLoopback(ctx context.Context, source, sink http.Handler, log *slog.Logger) (*loopback, error) {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen on loopback: %w", err)
	}
	var secret [16]byte
	_, _ = rand.Read(secret[:])
	path := "/" + hex.EncodeToString(secret[:])
	mux := http.NewServeMux()
	mux.Handle("GET "+path+"/source", source)
	mux.Handle("PUT "+path+"/out/", http.StripPrefix(path+"/out/", sink))
	l := &loopback{
		base: "http://" + ln.Addr().String() + path,
		port: ln.Addr().(*net.TCPAddr).Port,
		server: &http.Server{
			Handler: mux,
			// A full sink makes the packager wait: no read or write timeout here.
			ReadHeaderTimeout: 10 * time.Second,
			BaseContext:       func(net.Listener) context.Context { return ctx },
			ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		},
	}
	go func() {
		if err := l.server.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			log.Error("loopback endpoint ended", "error", err)
		}
	}()
	return l, nil
}

func (l *loopback) sourceURL() string { return l.base + "/source" }
func (l *loopback) sinkURL() string   { return l.base + "/out" }
func (l *loopback) close()            { _ = l.server.Close() }
