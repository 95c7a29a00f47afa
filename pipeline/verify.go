package pipeline

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"

	"github.com/Eyevinn/mp4ff/mp4"
	"golang.org/x/sync/errgroup"

	"github.com/sealcast/sealcast/internal/cenc"
)

// checkSegments checks segments with a decoder of their own.
func (a *attempt) checkSegments(ctx context.Context, segs []*segment, nice int) error {
	if len(segs) == 0 {
		return nil
	}
	decoder, err := a.startDecoder(ctx, tracksOf(segs), nice)
	if err != nil {
		return err
	}
	return a.checkWith(ctx, decoder, segs)
}

// checkWith reads segments back from the store and opens them with the key
// that the key store will hand out. Their pictures must be those that the
// encoder made, byte for byte; then the key pictures and all sound are decoded,
// and any decoder error is a failure. The decoder was started for the tracks of
// these segments; it has ended on return.
func (a *attempt) checkWith(ctx context.Context, decoder *decoder, segs []*segment) error {
	stored, err := a.storedKeys(ctx, segs)
	if err != nil {
		decoder.abandon()
		return err
	}
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(parallelChecks)
	for i, seg := range segs {
		group.Go(func() error {
			body, err := a.fetchBack(gctx, seg)
			if err != nil {
				return err
			}
			clear, err := a.open(seg, body, stored[seg.Key.KID])
			if err == nil {
				err = a.samePictures(seg, clear)
			}
			if err == nil {
				err = decoder.fill(i, clear)
			}
			if err != nil {
				return verifyError(fmt.Errorf("%s: %w", seg.Object.Name, err))
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		decoder.abandon()
		return err
	}
	if err := decoder.decode(); err != nil {
		return fmt.Errorf("segments from %s on: %w", segs[0].Object.Name, err)
	}
	return nil
}

// storedKeys reads back the keys of segments.
func (a *attempt) storedKeys(ctx context.Context, segs []*segment) (map[cenc.KID]cenc.ContentKey, error) {
	stored := map[cenc.KID]cenc.ContentKey{}
	for _, seg := range segs {
		kid := seg.Key.KID
		if _, known := stored[kid]; known || kid.IsZero() {
			continue
		}
		key, err := a.req.StoredKey(ctx, kid)
		if err != nil {
			return nil, transient(CodeKeyUnavailable, "the content key could not be read back", err)
		}
		stored[kid] = key
	}
	return stored, nil
}

// parallelChecks bounds the segments that are read back at once.
const parallelChecks = 8

// samePictures compares the pictures of a clear segment with the encoder's.
func (a *attempt) samePictures(seg *segment, clear []byte) error {
	r := a.rendition(seg.Track)
	if r == nil || r.Video == nil {
		return nil
	}
	got, err := segmentDigests(seg.Output, r.Video.Codec, clear)
	if err != nil {
		return err
	}
	return compareGOPs(got, r.Facts.Pictures.list(), a.plan.firstGOP(seg.Number))
}

func (a *attempt) rendition(name string) *rendition {
	for _, r := range a.renditions {
		if r.Name == name {
			return r
		}
	}
	return nil
}

// fetchBack reads a segment from the store and compares it with the inventory.
func (a *attempt) fetchBack(ctx context.Context, seg *segment) ([]byte, error) {
	var body []byte
	err := a.dog.retry(ctx, func(ctx context.Context) error {
		r, err := a.cfg.Media.Get(ctx, a.up.prefix+seg.Object.Name, "", 0, -1)
		if err != nil {
			return err
		}
		defer func() { _ = r.Close() }()
		body, err = io.ReadAll(io.LimitReader(r, maxObject+1))
		return err
	})
	if err != nil {
		return nil, transient(CodeStoreUnavailable, "an uploaded segment could not be read back", err)
	}
	if sha256.Sum256(body) != seg.Object.SHA256 {
		return nil, verifyError(fmt.Errorf("%s differs from what was uploaded", seg.Object.Name))
	}
	return body, nil
}

// open returns what a player would decode: of fMP4 the init segment and the
// segment in one, in the clear.
func (a *attempt) open(seg *segment, body []byte, key cenc.ContentKey) ([]byte, error) {
	as, encrypted := formats[seg.Output], !seg.Key.KID.IsZero()
	if encrypted && as.sealed {
		var err error
		if body, err = openSegment(key, seg.IV, body); err != nil {
			return nil, err
		}
	}
	if as.container == containerTS {
		return body, nil
	}
	init, ok := a.sink.doc(trackDir(seg.Output, seg.Track) + "/init.mp4")
	if !ok {
		return nil, fmt.Errorf("no init segment")
	}
	if !encrypted || as.sealed {
		return append(bytes.Clone(init), body...), nil
	}
	return openCMAF(init, body, key)
}

// openCMAF decrypts a segment with the sample encryption of ISO/IEC 23001-7.
func openCMAF(init, body []byte, key cenc.ContentKey) ([]byte, error) {
	f, err := mp4.DecodeFile(bytes.NewReader(append(bytes.Clone(init), body...)))
	if err != nil {
		return nil, fmt.Errorf("parse: %w", err)
	}
	if f.Init == nil || len(f.Segments) == 0 {
		return nil, fmt.Errorf("no init segment or no fragment")
	}
	info, err := mp4.DecryptInit(f.Init)
	if err != nil {
		return nil, fmt.Errorf("read protection: %w", err)
	}
	var out bytes.Buffer
	if err := f.Init.Encode(&out); err != nil {
		return nil, err
	}
	for _, s := range f.Segments {
		if err := mp4.DecryptSegment(s, info, key.Bytes()); err != nil {
			return nil, fmt.Errorf("decrypt: %w", err)
		}
		if err := s.Encode(&out); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), nil
}
