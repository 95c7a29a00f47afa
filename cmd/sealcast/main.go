// Command sealcast takes uploaded video and turns it into encrypted streaming
// video: it encodes, packages, keeps the content keys, and hands them to
// viewers who bring a playback token. `sealcast help` lists what it does.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/sealcast/sealcast/internal/sandbox"
)

// main gives the process's surroundings to run. The first SIGINT or SIGTERM
// cancels the context, so that everything ends in good order; with the second
// one the signal's default comes back, and that kills at once.
func main() {
	sandbox.MaybeChild() // a child process of ours begins here and does not return
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args, os.Environ(), os.Stdin, os.Stdout, os.Stderr))
}
