package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
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
	var group errgroup.Group
	// Whoever fails first ends the others.
	fail := func(err error) error { abort(err); return err }

	// A packager that was given nothing fails, too; then the encoder knows why.
	var begun atomic.Bool         // a byte of any rendition has come
	judged := make(chan struct{}) // the encoder has ended and had its say
	toPackagers, err := a.startPackagers(ctx, plan, rs, &group, func(err error) error {
		if !begun.Load() {
			select {
			case <-judged:
			case <-ctx.Done():
			case <-time.After(proc.Grace):
			}
		}
		return fail(err)
	})
	if err != nil {
		return time.Time{}, joinAfter(&group, fail(err))
	}
	encoder, streams, progress, err := a.startEncoder(ctx, src, plan, rs)
	if err != nil {
		closeAllFiles(toPackagers)
		return time.Time{}, joinAfter(&group, fail(err))
	}
	total := expectedFrames(src.Duration.Seconds(), plan.Rate)
	group.Go(func() error {
		defer func() { _ = progress.Close() }()
		last := int64(-1)
		read := readProgress
		if len(plan.Video) == 0 {
			read = readSoundProgress
		}
		read(progress, func(frame int64) {
			if frame != last {
				a.dog.beat()
				last = frame
			}
			a.track.encoded(float64(frame) / float64(max(total, 1)))
		})
		return nil
	})
	var encodeEnd time.Time
	var reading sync.WaitGroup // of what the encoder makes
	reading.Add(len(rs))
	group.Go(func() error {
		defer close(judged)
		res, err := a.wait(encoder, "ffmpeg", StageEncode)
		encodeEnd = time.Now()
		reading.Wait()
		if err := a.encoderVerdict(ctx, err, begun.Load()); err != nil {
			return fail(err)
		}
		if why := pictureFault(res.Stderr); why != "" && plan.KeyFrames != nil {
			return fail(transient(CodeEncodeFailed, "the source's pictures have errors, they cannot be copied", errors.New(why)))
		}
		a.track.enter(StagePack, percentEncoded)
		return nil
	})
	for i, r := range rs {
		group.Go(func() error {
			observe := func(kind string, box []byte) error {
				err := r.Facts.observe(kind, box)
				if err == nil && kind == "moov" {
					a.sink.early.describe(r)
				}
				return err
			}
			var observer io.Writer = &boxScanner{onBox: observe, withMedia: r.Video != nil}
			if a.tap != nil {
				observer = io.MultiWriter(observer, a.tap(r.Name))
			}
			err := tee(streams[i], observer, toPackagers[i], func() { begun.Store(true); a.dog.beat() })
			reading.Done()
			if err != nil {
				if !begun.Load() {
					<-judged // its pipe is closed, so it ends
				}
				return fail(asError(err, CodePackFailed, "the encoded streams could not be packaged"))
			}
			return nil
		})
	}
	err = group.Wait()
	return encodeEnd, err
}

// encoderVerdict turns the end of ffmpeg into an error. What it says of a
// source that gave nothing at all is final, when nobody ended it.
func (a *attempt) encoderVerdict(ctx context.Context, err error, begun bool) error {
	if fault := a.gateway.fault(); fault != nil {
		return fault
	}
	var exit *proc.ExitError
	switch {
	case err == nil:
		return nil
	case ctx.Err() == nil && errors.As(err, &exit) && !fromOutside(exit) && !begun && !a.starved.Load():
		return permanent(CodeSourceTruncated, "no picture of the source could be decoded", err)
	}
	return transient(CodeEncodeFailed, "the encoder failed", err)
}

// fromOutside reports whether the end of a child says nothing of its input: it
// was ended from outside, or could not even run. A shell tells the former as
// 128 plus the signal, ffmpeg as 255; the latter as 2, 126 or 127, and so do
// the loader and Go's runtime.
func fromOutside(e *proc.ExitError) bool {
	return e.Code <= 0 || e.Code == 2 || e.Code == 126 || e.Code == 127 || e.Code > 128 && e.Code < 160 || e.Code == 255
}

// startPackagers starts one packager per output and gives them to the group.
// It returns the writing ends of their pipes: per rendition, one per output.
func (a *attempt) startPackagers(ctx context.Context, plan Plan, rs []*rendition, group *errgroup.Group, fail func(error) error) ([][]*os.File, error) {
	toPackagers := make([][]*os.File, len(rs))
	for _, output := range a.req.Options.Outputs {
		var inputs []*os.File
		for i := range rs {
			if !carries(output, rs[i]) {
				continue
			}
			r, w, err := pipe()
			if err != nil {
				closeFiles(inputs)
				closeAllFiles(toPackagers)
				return nil, transient(CodePackFailed, "the packager could not start", err)
			}
			inputs = append(inputs, r)
			toPackagers[i] = append(toPackagers[i], w)
		}
		p, err := a.startPackager(ctx, output, plan, carried(output, rs), inputs)
		if err != nil {
			closeAllFiles(toPackagers)
			return nil, err
		}
		group.Go(func() error {
			if _, err := a.wait(p, "packager", StagePack); err != nil {
				return fail(transient(CodePackFailed, "the packager failed", err))
			}
			return nil
		})
	}
	return toPackagers, nil
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
			if progress != nil {
				_ = progress.Close()
			}
			return nil, nil, nil, transient(CodeEncodeFailed, "the encoder could not start", perr)
		}
		theirs = append(theirs, w)
		if i == 0 {
			progress = r
		} else {
			streams = append(streams, r)
		}
	}
	if plan.Watermark != nil {
		f, merr := memoryFile("watermark", a.watermark)
		if merr != nil {
			closeFiles(append(append(theirs, streams...), progress))
			return nil, nil, nil, transient(CodeEncodeFailed, "the encoder could not start", merr)
		}
		theirs = append(theirs, f)
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
	protect := a.req.Options.protectionOf(output, a.req.Keys[output])
	args := packArgs(output, rs, plan, a.loop.sinkURL(), packFD, protect)
	files := inputs
	if protect != nil {
		r, w, err := pipe()
		if err != nil {
			closeFiles(inputs)
			return nil, transient(CodePackFailed, "the packager could not start", err)
		}
		// A pipe holds a flag file whole: this write does not wait for the reader.
		_, err = w.Write(keyFlags(protect.key))
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
