package worker

import (
	"context"
	"crypto/sha256"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/sealcast/sealcast/internal/cenc"
	"github.com/sealcast/sealcast/keystore"
	"github.com/sealcast/sealcast/pipeline"
)

// beginning is what a pipeline shows of a rendition with so many segments, from
// the one after the given number on.
func beginning(after, segments int) (out []pipeline.EarlyObject) {
	document := func(name, body string, grows bool) {
		out = append(out, pipeline.EarlyObject{
			Object: pipeline.Object{Name: name, Size: int64(len(body)), SHA256: sha256.Sum256([]byte(body)), ContentType: "application/vnd.apple.mpegurl"},
			Body:   []byte(body), Grows: grows,
		})
	}
	if after == 0 {
		document("ts/v/index.m3u8", "head\n", true)
		document("ts/master.m3u8", "master\n", false)
	}
	for n := after + 1; n <= after+segments; n++ {
		digit := string(rune('0' + n))
		out = append(out, pipeline.EarlyObject{
			Object: pipeline.Object{Name: "ts/v/" + digit + ".ts", Size: int64(n), SHA256: [32]byte{byte(n)}, ContentType: "video/mp2t"},
			Number: n, Lines: []byte(digit + ".ts\n"),
		})
	}
	return out
}

// shown waits until the attempt shows its playlist with this content.
func (h *house) shown(job Job, c *call, playlist string) {
	h.t.Helper()
	h.eventually("the playlist is "+playlist, func() bool {
		o, err := h.store.Object(h.t.Context(), job.Hash, c.req.Prefix, "ts/v/index.m3u8")
		if err != nil && !errors.Is(err, ErrPublicationNotFound) {
			h.t.Fatal(err)
		}
		return err == nil && o.Early && string(o.Body) == playlist && o.Size == int64(len(playlist)) && o.SHA256 == sha256.Sum256(o.Body)
	})
	entry, err := h.store.Shown(h.t.Context(), job.Hash)
	if err != nil || entry.Generation != 0 || entry.Prefix != c.req.Prefix || !entry.Encrypted {
		h.t.Errorf("entry %+v, %v", entry, err)
	}
	if o, err := h.store.Object(h.t.Context(), job.Hash, c.req.Prefix, "ts/v/1.ts"); err != nil || !o.Early || o.Body != nil || o.Size != 1 || !o.Encrypted {
		h.t.Errorf("object %+v, %v", o, err)
	}
	// Of several names the first that is there counts, whatever there was first.
	if o, err := h.store.Object(h.t.Context(), job.Hash, c.req.Prefix, "none", "ts/v/1.ts", "ts/master.m3u8"); err != nil || o.Name != "ts/v/1.ts" || o.Size != 1 {
		h.t.Errorf("object %+v, %v", o, err)
	}
	for output, k := range c.req.Keys {
		if got, err := h.keys.Served(h.t.Context(), job.Hash, &k.KID); err != nil || !got.Content.Equal(k.Content) {
			h.t.Errorf("key of %s: %v", output, err)
		}
	}
	if _, err := h.store.Entry(h.t.Context(), job.Hash); !errors.Is(err, ErrPublicationNotFound) {
		h.t.Errorf("it is published: %v", err)
	}
}

// withdrawn wants nothing of an attempt to be seen.
func (h *house) withdrawn(job Job, prefix string, kids ...cenc.KID) {
	h.t.Helper()
	if e, err := h.store.Shown(h.t.Context(), job.Hash); err == nil && e.Prefix == prefix || err != nil && !errors.Is(err, ErrPublicationNotFound) {
		h.t.Errorf("entry %+v, %v", e, err)
	}
	for _, o := range beginning(0, 3) {
		if _, err := h.store.Object(h.t.Context(), job.Hash, prefix, o.Name); !errors.Is(err, ErrPublicationNotFound) {
			h.t.Errorf("%s: %v", o.Name, err)
		}
	}
	for _, kid := range kids {
		if _, err := h.keys.Served(h.t.Context(), job.Hash, &kid); !errors.Is(err, keystore.ErrNotFound) {
			h.t.Errorf("key %s: %v", kid, err)
		}
	}
}

func kidsOf(c *call) (kids []cenc.KID) {
	for _, k := range c.req.Keys {
		kids = append(kids, k.KID)
	}
	return kids
}

// What an attempt shows grows, and is gone in the moment in which the attempt is
// not the job's current one any more, however it ends; the next attempt shows
// its own. Publication makes a film of it without a moment between.
func TestEarlyPlayBelongsToItsAttempt(t *testing.T) {
	for name, end := range map[string]struct {
		do    func(h *house, job Job, c *call)
		state State
	}{
		"failed":      {func(_ *house, _ Job, c *call) { c.fail(errPermanent) }, StateFailed},
		"tried again": {func(_ *house, _ Job, c *call) { c.fail(errTransient) }, StateRunning},
		"cancelled": {func(h *house, job Job, _ *call) {
			_, _, _ = h.store.Cancel(h.t.Context(), job.ID, Origin{Actor: "test"})
		}, StateCancelled},
		"lease is over": {expire, StateRunning},
		"asset deleted": {func(h *house, job Job, _ *call) {
			_, _ = h.store.DeleteAsset(h.t.Context(), job.Hash, Origin{Actor: "test"}, h.keys)
		}, StateCancelled},
		"published": {func(_ *house, _ Job, c *call) { c.succeed() }, StateSucceeded},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			d, _ := h.dispatcher(nil)
			p := newScript()
			h.worker(p, func(c *Config) { c.Wake = d.Wake })
			job := h.submit(request(1, `{"early_publish":true}`))
			d.Wake()
			c := p.next(t)
			h.withdrawn(job, c.req.Prefix, kidsOf(c)...)
			c.req.Show(beginning(0, 1))
			h.shown(job, c, "head\n1.ts\n")
			c.req.Show(beginning(1, 1))
			h.shown(job, c, "head\n1.ts\n2.ts\n")

			end.do(h, job, c)
			h.eventually("the attempt has ended", func() bool {
				j := h.get(job.ID)
				return j.State == end.state && (end.state != StateRunning || j.Attempt == 2)
			})
			if err := h.store.ShowEarly(t.Context(), Fence{job.ID, 1}, job.Hash, beginning(2, 1)); !errors.Is(err, ErrFenced) {
				t.Errorf("a dead attempt shows: %v", err)
			}
			if end.state == StateSucceeded {
				entry, err := h.store.Shown(t.Context(), job.Hash)
				if err != nil || entry.Generation != 1 || entry.Prefix != c.req.Prefix {
					t.Errorf("entry %+v, %v", entry, err)
				}
				for _, kid := range kidsOf(c) {
					if k, err := h.keys.Served(t.Context(), job.Hash, &kid); err != nil || k.State != keystore.StateActive {
						t.Errorf("key: %v %v", k.State, err)
					}
				}
			} else {
				h.withdrawn(job, c.req.Prefix, kidsOf(c)...)
			}
			if n := count(h, `SELECT count(*) FROM early_publications`) + count(h, `SELECT count(*) FROM early_objects`); n != 0 {
				t.Errorf("%d rows are left", n)
			}
			if end.state == StateRunning {
				second := p.next(t)
				second.req.Show(beginning(0, 1))
				h.shown(job, second, "head\n1.ts\n")
				h.withdrawn(job, c.req.Prefix, kidsOf(c)...)
				second.succeed()
				h.await(job.ID, StateSucceeded)
			}
			h.invariants()
		})
	}
}

// expire lets the lease end: nothing is to be seen at once, before the reaper
// has come by.
func expire(h *house, job Job, c *call) {
	h.exec(`UPDATE jobs SET lease_until = clock_timestamp() WHERE id = $1`, job.ID)
	h.withdrawn(job, c.req.Prefix, kidsOf(c)...)
}

// A title that is published goes on as it is while it is made again, and who
// did not ask for it shows nothing.
func TestEarlyPlayIsAskedForAndFirst(t *testing.T) {
	h := newHouse(t)
	d, _ := h.dispatcher(nil)
	p := newScript()
	h.worker(p, func(c *Config) { c.Wake = d.Wake })
	for i, options := range []string{`{}`, `{"early_publish":true}`} {
		job := h.submit(request(1, options))
		d.Wake()
		c := p.next(t)
		if c.req.Show != nil {
			t.Errorf("%s shows something", options)
		}
		if i == 1 { // and would not be seen if it did
			if err := h.store.ShowEarly(t.Context(), h.get(job.ID).Fence(), job.Hash, beginning(0, 1)); err != nil {
				t.Fatal(err)
			}
			h.withdrawn(job, c.req.Prefix, kidsOf(c)...)
			if e, err := h.store.Shown(t.Context(), job.Hash); err != nil || e.Generation != 1 {
				t.Errorf("entry %+v, %v", e, err)
			}
		}
		c.succeed()
		h.await(job.ID, StateSucceeded)
	}
	h.invariants()
}

// The writer keeps the order, writes again what failed, and nothing twice.
func TestEarlyWriter(t *testing.T) {
	t.Parallel()
	var got []string
	fail := true
	done := make(chan struct{})
	ctx := t.Context()
	w := newEarlyWriter(time.Millisecond, nil)
	w.write = func(_ context.Context, objects []pipeline.EarlyObject) error {
		if fail {
			fail = false
			w.show(beginning(2, 1))
			return errors.New("away")
		}
		for _, o := range objects {
			got = append(got, o.Name)
		}
		if len(got) == 5 {
			close(done)
		}
		return nil
	}
	w.show(beginning(0, 2))
	go w.run(ctx)
	select {
	case <-done:
	case <-time.After(patience):
	}
	if want := []string{"ts/v/index.m3u8", "ts/master.m3u8", "ts/v/1.ts", "ts/v/2.ts", "ts/v/3.ts"}; !slices.Equal(got, want) {
		t.Errorf("written: %v", got)
	}
}
