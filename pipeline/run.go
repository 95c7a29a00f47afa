package pipeline

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sealcast/sealcast/internal/proc"
)

const (
	progressFD = 3
	encodeFD   = 4 // the encoder's first output
	packFD     = 3 // the packager's first input
)

// encodeAndPack runs the encoder and one packager per output until all have
// ended well. It returns when the encoder ended.
func (a *attempt) encodeAndPack(ctx context.Context, abort context.CancelCauseFunc, src *Source, plan Plan, rs []*rendition) (time.Time, error) {
	// Whoever fails first ends the others.
	fail := func(err error) error { abort(err); return err }

	toPackagers := make([][]*os.File, len(rs)) // per rendition, one pipe per output
	var group errgroup.Group
	for _, output := range a.req.Options.Outputs {
		var inputs []*os.File
		for i := range rs {
			r, w, err := pipe()
			if err != nil {
				closeFiles(inputs)
				closeAllFiles(toPackagers)
				return time.Time{}, fail(transient(CodePackFailed, "the packager could not start", err))
			}
			inputs = append(inputs, r)
			toPackagers[i] = append(toPackagers[i], w)
		}
		p, err := a.startPackager(ctx, output, plan, rs, inputs)
		if err != nil {
			closeAllFiles(toPackagers)
			return time.Time{}, joinAfter(&group, fail(err))
		}
		group.Go(func() error {
			if _, err := a.wait(p, "packager"); err != nil {
				return fail(transient(CodePackFailed, "the packager failed", err))
			}
			return nil
		})
	}

	encoder, streams, progress, err := a.startEncoder(ctx, src, plan, rs)
	if err != nil {
		closeAllFiles(toPackagers)
		return time.Time{}, joinAfter(&group, fail(err))
	}
	total := expectedFrames(src.Duration.Seconds(), plan.Rate)
	group.Go(func() error {
		defer func() { _ = progress.Close() }()
		readProgress(progress, func(frame int64) { a.track.encoded(float64(frame) / float64(max(total, 1))) })
		return nil
	})
	for i, r := range rs {
		group.Go(func() error {
			var observer io.Writer = &boxScanner{onBox: r.Facts.observe}
			if a.tap != nil {
				observer = io.MultiWriter(observer, a.tap(r.Name))
			}
			if err := tee(streams[i], observer, toPackagers[i]); err != nil {
				return fail(transient(CodePackFailed, "the encoded streams could not be packaged", err))
			}
			return nil
		})
	}
	var encodeEnd time.Time
	group.Go(func() error {
		_, err := a.wait(encoder, "ffmpeg")
		encodeEnd = time.Now()
		if gerr := a.gateway.fault(); gerr != nil {
			return fail(gerr)
		}
		if err != nil {
			return fail(transient(CodeEncodeFailed, "the encoder failed", err))
		}
		a.track.enter(StagePack, percentEncoded)
		return nil
	})
	err = group.Wait()
	return encodeEnd, err
}

// joinAfter waits for what was started and returns err.
func joinAfter(group *errgroup.Group, err error) error {
	_ = group.Wait()
	return err
}

func closeAllFiles(lists [][]*os.File) {
	for _, files := range lists {
		closeFiles(files)
	}
}

// startEncoder starts ffmpeg and returns our ends of its pipes.
func (a *attempt) startEncoder(ctx context.Context, src *Source, plan Plan, rs []*rendition) (p *proc.Process, streams []*os.File, progress *os.File, err error) {
	var theirs []*os.File
	for i := range len(rs) + 1 {
		r, w, perr := pipe()
		if perr != nil {
			closeFiles(theirs)
			closeFiles(streams)
			return nil, nil, nil, transient(CodeEncodeFailed, "the encoder could not start", perr)
		}
		theirs = append(theirs, w)
		if i == 0 {
			progress = r
		} else {
			streams = append(streams, r)
		}
	}
	p, err = a.start(ctx, proc.Spec{
		Name: "ffmpeg", Path: a.cfg.FFmpeg, Files: theirs,
		Args: encodeArgs(src, plan, a.sourceURL(), progressFD, encodeFD),
	})
	if err != nil {
		closeFiles(append(streams, progress))
		return nil, nil, nil, transient(CodeEncodeFailed, "the encoder could not start", err)
	}
	return p, streams, progress, nil
}

// startPackager starts the packager of one output. The raw key goes through a
// pipe that is read as a flag file.
func (a *attempt) startPackager(ctx context.Context, output string, plan Plan, rs []*rendition, inputs []*os.File) (*proc.Process, error) {
	key, encrypted := a.req.Keys[output]
	encrypted = encrypted && output == OutputCMAF
	args := packArgs(output, rs, plan, a.loop.sinkURL(), packFD, encrypted)
	files := inputs
	if encrypted {
		r, w, err := pipe()
		if err != nil {
			closeFiles(inputs)
			return nil, transient(CodePackFailed, "the packager could not start", err)
		}
		// A pipe holds a flag file whole: this write does not wait for the reader.
		_, err = w.Write(keyFlags(key))
		_ = w.Close()
		files = append(files, r)
		if err != nil {
			closeFiles(files)
			return nil, transient(CodePackFailed, "the packager could not start", err)
		}
		args = append(args, fmt.Sprintf("--flagfile=/dev/fd/%d", packFD+len(inputs)))
	}
	p, err := a.start(ctx, proc.Spec{Name: "packager", Path: a.cfg.Packager, Args: args, Files: files, Stdout: io.Discard})
	if err != nil {
		return nil, transient(CodePackFailed, "the packager could not start", err)
	}
	return p, nil
}
