package worker

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/sealcast/sealcast/internal/localstack/localstacktest"
	"github.com/sealcast/sealcast/internal/objstore"
	"github.com/sealcast/sealcast/pipeline"
)

func (h *house) bucket() *objstore.Bucket {
	h.t.Helper()
	stack := localstacktest.Stack(h.t)
	client, err := objstore.New(objstore.Config{
		Endpoint: stack.S3Endpoint, AccessKey: stack.S3AccessKey, SecretKey: stack.S3SecretKey, Region: stack.S3Region,
	})
	if err != nil {
		h.t.Fatal(err)
	}
	_, media := localstacktest.Buckets(h.t)
	return client.Bucket(media)
}

// litter is a bucket and what lies in it, by a name for each folder.
type litter struct {
	*house
	media   *objstore.Bucket
	folders map[string]string
}

func (l *litter) put(name, prefix string) {
	l.t.Helper()
	l.folders[name] = prefix
	for _, object := range []string{"cmaf/v-360p/1.m4s", "master.m3u8"} {
		if _, err := l.media.Put(l.t.Context(), prefix+object, []byte("12345"), "text/plain", ""); err != nil {
			l.t.Fatal(err)
		}
	}
}

func (l *litter) putAttempt(name string, job Job, attempt int) {
	l.t.Helper()
	l.put(name, pipeline.KeyPrefix(job.Hash, Fence{job.ID, attempt}.Prefix()))
}

// left names the folders that still have objects.
func (l *litter) left() (names []string) {
	l.t.Helper()
	for name, prefix := range l.folders {
		objects, err := l.media.List(l.t.Context(), prefix)
		if err != nil {
			l.t.Fatal(err)
		}
		if len(objects) == 2 {
			names = append(names, name)
		} else if len(objects) != 0 {
			l.t.Errorf("%s: %d objects are left", name, len(objects))
		}
	}
	slices.Sort(names)
	return names
}

// newLitter is one of every kind. A day has passed since, but for what is young.
func newLitter(t *testing.T) *litter {
	h := newHouse(t)
	l := &litter{house: h, media: h.bucket(), folders: map[string]string{}}
	publish := func(n int, options string) Job {
		job, req := h.claimed(n, options)
		if err := h.store.Publish(t.Context(), req, h.keys); err != nil {
			t.Fatal(err)
		}
		return job
	}
	l.putAttempt("retired", publish(1, ""), 1)
	l.putAttempt("current", publish(1, `{"outputs":["ts"]}`), 1)
	h.exec(`UPDATE publications SET published_at = published_at - interval '1 day'`)
	l.putAttempt("replaced a moment ago", publish(2, ""), 1)
	l.putAttempt("current too", publish(2, `{"outputs":["ts"]}`), 1)

	lost, _ := h.claimed(3, "")
	if err := h.store.Requeue(t.Context(), lost.Fence(), Release{Failure: true}); err != nil {
		t.Fatal(err)
	}
	_, req := h.claim(h.get(lost.ID))
	if err := h.store.Publish(t.Context(), req, h.keys); err != nil {
		t.Fatal(err)
	}
	l.putAttempt("first attempt", lost, 1)
	l.putAttempt("published second attempt", lost, 2)
	l.putAttempt("failed", h.failed(4, "", "x"), 1)
	cancelled, _ := h.claimed(5, "")
	h.cancel(cancelled.ID)
	l.putAttempt("cancelled", cancelled, 1)
	h.exec(`UPDATE jobs SET finished_at = finished_at - interval '1 day'`)

	l.putAttempt("failed a moment ago", h.failed(6, "", "x"), 1)
	running, _ := h.claimed(7, "")
	if err := h.store.Requeue(t.Context(), running.Fence(), Release{Failure: true}); err != nil {
		t.Fatal(err)
	}
	running, _ = h.claim(h.get(running.ID))
	l.putAttempt("first attempt of a running job", running, 1)
	l.putAttempt("running", running, 2)
	l.put("no job's", pipeline.KeyPrefix(running.Hash, "0123456789abcdef-1"))
	l.put("no asset's", pipeline.KeyPrefix(strings.Repeat("a", 64), "0123456789abcdef-1"))
	l.put("something else", "stream/readme/x/")
	return l
}

func (l *litter) collector(change func(*CollectorConfig)) *Collector {
	cfg := CollectorConfig{Store: l.store, Media: l.media, Keys: l.keys, Log: l.log, Grace: time.Hour, Retention: time.Hour}
	if change != nil {
		change(&cfg)
	}
	return NewCollector(cfg)
}

var keptFolders = []string{
	"current", "current too", "failed a moment ago", "first attempt of a running job", "no asset's", "no job's",
	"published second attempt", "replaced a moment ago", "running", "something else",
}

func TestCollector(t *testing.T) {
	l := newLitter(t)
	all := l.left()
	keys := `SELECT count(*) FROM content_keys WHERE state = `
	pending, active := count(l.house, keys+`'pending'`), count(l.house, keys+`'active'`)
	reg := prometheus.NewRegistry()
	m := NewCollectorMetrics(reg)
	want := Collected{Folders: 4, Objects: 8, Bytes: 40, Keys: 6, Foreign: 3}

	dry, err := l.collector(func(c *CollectorConfig) { c.DryRun, c.Metrics = true, m }).Once(t.Context(), func(Garbage) {})
	if err != nil || dry != want {
		t.Errorf("dry run: %+v, %v", dry, err)
	}
	if diff := cmp.Diff(all, l.left()); diff != "" || count(l.house, keys+`'pending'`) != pending || count(l.house, keys+`'shredded'`) != 0 {
		t.Errorf("a dry run removes: %s", diff)
	}
	var told []string
	wet := l.collector(func(c *CollectorConfig) { c.Metrics = m })
	got, err := wet.Once(t.Context(), func(g Garbage) { told = append(told, g.Why) })
	if err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
	slices.Sort(told)
	if diff := cmp.Diff([]string{WhyDead, WhyDead, WhyDead, WhyRetired}, told); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(keptFolders, l.left()); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
	if n := count(l.house, keys+`'pending'`); n != pending-6 {
		t.Errorf("%d keys are pending, %d were", n, pending)
	}
	if count(l.house, keys+`'active'`) != active || count(l.house, keys+`'shredded' AND wrapped_key IS NULL`) != 6 {
		t.Error("other keys than pending ones were touched")
	}
	// The retired generation is not served, and says so; the others are.
	if _, err := l.store.Object(t.Context(), l.folders["retired"][7:71], strings.Trim(l.folders["retired"][72:], "/"), "v/1.m4s"); !errors.Is(err, ErrPublicationNotFound) {
		t.Errorf("retired object: %v", err)
	}
	if n := count(l.house, `SELECT count(*) FROM publications WHERE collected_at IS NOT NULL`); n != 1 {
		t.Errorf("%d publications are collected", n)
	}
	for what, n := range map[string]float64{kindObjects: 8, kindBytes: 40, kindKeys: 6} {
		if got := testutil.ToFloat64(m.removed.WithLabelValues(what)); got != n {
			t.Errorf("%v %s counted", got, what)
		}
	}
	if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
		t.Errorf("metrics: %v %v", problems, err)
	}
	// An attempt that lost its lease long ago uploads one more object.
	l.putAttempt("late", Job{ID: "nobody", Hash: l.folders["failed"][7:71]}, 1)
	l.put("failed", l.folders["failed"])
	l.put("retired", l.folders["retired"])
	again, err := wet.Once(t.Context(), func(Garbage) {})
	if err != nil || again != (Collected{Folders: 2, Objects: 4, Bytes: 20, Foreign: 4}) {
		t.Errorf("second round: %+v, %v", again, err)
	}
	l.invariants()
}

// A job that is retried between the look and the deed keeps its new keys.
func TestShreddingSparesTheNextAttempt(t *testing.T) {
	h := newHouse(t)
	job := h.failed(1, "", "x")
	h.exec(`UPDATE jobs SET finished_at = finished_at - interval '1 day'`)
	dead, err := h.store.deadKeys(t.Context(), time.Hour, "", 10)
	if err != nil || len(dead) != 1 || dead[0] != (deadKey{job.ID, 1, 2}) {
		t.Fatalf("%+v, %v", dead, err)
	}
	again, err := h.store.Retry(t.Context(), job.ID, tester)
	if err != nil {
		t.Fatal(err)
	}
	_, req := h.claim(again)
	if n, err := h.keys.ShredPending(t.Context(), dead[0].JobID, dead[0].Attempt); err != nil || n != 2 {
		t.Errorf("%d shredded, %v", n, err)
	}
	if err := h.store.Publish(t.Context(), req, h.keys); err != nil {
		t.Error(err)
	}
}

// The current generation is never retired, whoever asks; nor do two collect at once.
func TestCollectorGuards(t *testing.T) {
	h := newHouse(t)
	job, req := h.claimed(1, "")
	if err := h.store.Publish(t.Context(), req, h.keys); err != nil {
		t.Fatal(err)
	}
	if gone, err := h.store.retire(t.Context(), job.Fence().Prefix()); err != nil || gone {
		t.Errorf("the current generation: %v, %v", gone, err)
	}
	unlock, err := h.store.lockSession(t.Context(), lockCollector)
	if err != nil {
		t.Fatal(err)
	}
	c := NewCollector(CollectorConfig{Store: h.store, Keys: h.keys, Media: h.bucket()})
	if _, err := c.Once(t.Context(), func(Garbage) {}); !errors.Is(err, ErrCollecting) {
		t.Errorf("two at once: %v", err)
	}
	unlock()
	if _, err := c.Once(t.Context(), func(Garbage) {}); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}
