package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"

	"github.com/sealcast/sealcast/internal/localstack"
	"github.com/sealcast/sealcast/internal/localstack/localstacktest"
	"github.com/sealcast/sealcast/internal/objstore"
	"github.com/sealcast/sealcast/migrations"
)

// faultRig is an installation in which every connection of the program goes
// through proxies that break:
//
//	program ─► wire or storeGate (knows the protocol) ─► toxiproxy ─► server
//
// The rig's own look at database and buckets goes around them.
type faultRig struct {
	*rig
	stack *localstack.Stack
	pg    *wire
	queue *wire
	store *storeGate
	link  map[string]*toxiproxy.Proxy // by server: localstack.Postgres, …
	all   []*process                  // every sealcast of this rig
	kin   family                      // every child of theirs that was seen
	api   *process
}

// newFaultRig is a rig on the servers of the test binary.
func newFaultRig(t testing.TB) *faultRig {
	t.Helper()
	return through(t, newRig(t), localstacktest.Stack(t))
}

// newCrashRig is a rig on servers of its own, which the test may crash.
func newCrashRig(t testing.TB) *faultRig {
	t.Helper()
	dir, err := os.MkdirTemp("", "sealcast-crash-") // Postgres's user must reach it
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	// A folder that is kept: a throwaway Postgres may forget what it has committed.
	stack, err := localstack.Start(t.Context(), localstack.Config{Dir: dir + "/data"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := stack.Stop(); err != nil {
			t.Error(err)
		}
	})
	if err := migrations.Apply(t.Context(), stack.DatabaseURL, nil); err != nil {
		t.Fatal(err)
	}
	if err := stack.CreateBucket(t.Context(), "source", "media"); err != nil {
		t.Fatal(err)
	}
	client, err := objstore.New(objstore.Config{
		Endpoint: stack.S3Endpoint, AccessKey: stack.S3AccessKey, SecretKey: stack.S3SecretKey, Region: stack.S3Region,
	})
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t)
	r.db, r.source, r.media = localstacktest.Connect(t, stack.DatabaseURL), client.Bucket("source"), client.Bucket("media")
	maps.Copy(r.env, environment{
		"DATABASE_URL": stack.DatabaseURL, "REDIS_URL": stack.RedisURL, "SOURCE_BUCKET": "source", "MEDIA_BUCKET": "media",
		"S3_ENDPOINT": stack.S3Endpoint, "S3_ACCESS_KEY": stack.S3AccessKey, "S3_SECRET_KEY": stack.S3SecretKey,
	})
	return through(t, r, stack)
}

// through puts the proxies between the program and its servers.
func through(t testing.TB, r *rig, stack *localstack.Stack) *faultRig {
	t.Helper()
	f := &faultRig{rig: r, stack: stack, link: map[string]*toxiproxy.Proxy{}, kin: family{}}
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	link := func(name, rawURL string) string {
		p := toxiproxy.NewProxy(server, name, "127.0.0.1:0", hostOf(t, rawURL))
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.Stop)
		f.link[name] = p
		return p.Listen
	}
	f.pg = newWire(t, link(localstack.Postgres, r.env["DATABASE_URL"]))
	f.queue = newWire(t, link(localstack.Redis, r.env["REDIS_URL"]))
	f.store = newStoreGate(t, link(localstack.MinIO, r.env["S3_ENDPOINT"]))
	for name, addr := range map[string]string{"DATABASE_URL": f.pg.addr(), "REDIS_URL": f.queue.addr(), "S3_ENDPOINT": f.store.addr} {
		u, err := url.Parse(r.env[name])
		if err != nil {
			t.Fatal(err)
		}
		u.Host = addr
		r.env[name] = u.String()
	}
	return f
}

func hostOf(t testing.TB, rawURL string) string {
	t.Helper()
	u, err := url.Parse(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
}

// cut closes every connection to a server and takes no new one, until mend.
func (f *faultRig) cut(server string) { f.link[server].Stop() }

func (f *faultRig) mend(server string) {
	f.t.Helper()
	if err := f.link[server].Start(); err != nil {
		f.t.Fatal(err)
	}
}

// blackHole swallows every byte to and from a server and keeps the connections
// open, until clear.
func (f *faultRig) blackHole(server string) {
	f.t.Helper()
	for _, way := range []string{"upstream", "downstream"} {
		toxic := fmt.Sprintf(`{"name":%q,"type":"timeout","stream":%q,"attributes":{"timeout":0}}`, way, way)
		if _, err := f.link[server].Toxics.AddToxicJson(strings.NewReader(toxic)); err != nil {
			f.t.Fatal(err)
		}
	}
}

// clear lets bytes through again. What was swallowed is missing in the middle
// of the connections, so they are closed, as a router that lost its state does.
func (f *faultRig) clear(server string) {
	f.t.Helper()
	f.link[server].Toxics.ResetToxics(context.Background())
	f.cut(server)
	f.mend(server)
}

// run starts a sealcast with changes to the environment.
func (f *faultRig) run(change environment, args []string, tools ...string) *process {
	f.t.Helper()
	one := *f.rig
	one.env = maps.Clone(f.env)
	one.env["METRICS_ADDR"] = freeAddr(f.t)
	maps.Copy(one.env, change)
	p := one.start(args, tools...)
	f.all = append(f.all, p)
	return p
}

// worker starts a worker and waits until it takes jobs.
func (f *faultRig) worker(change environment, tools ...string) *process {
	f.t.Helper()
	p := f.run(change, []string{"worker"}, tools...)
	f.until("the worker has started", func() bool {
		select {
		case <-p.done:
			f.t.Fatalf("the worker ended:\n%s", p.out.String())
		default:
		}
		return strings.Contains(p.out.String(), "worker started")
	})
	return p
}

// serveAPI starts an API.
func (f *faultRig) serveAPI() {
	f.t.Helper()
	f.api = f.run(nil, []string{"api"})
	f.ready(f.api)
}

// until waits for what no event tells.
func (f *faultRig) until(what string, ok func() bool) {
	f.t.Helper()
	for deadline := time.Now().Add(4 * time.Minute); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			f.t.Fatalf("it never came to this: %s\n%s", what, f.rows())
		}
		f.kin.look(f.t, f.all)
	}
}

// reached waits for a snag.
func (f *faultRig) reached(s *snag, what string) {
	f.t.Helper()
	f.until(what, func() bool {
		select {
		case <-s.reached:
			return true
		default:
			return false
		}
	})
}

// row reads a job around every proxy.
func (f *faultRig) row(id string) (j fullJob) {
	f.t.Helper()
	var code, message string
	var results []byte
	err := f.db.QueryRow(context.Background(), `
		SELECT id, type, hash, source, state, stage, progress, attempt, error_code, error_message, coalesce(results, '{}')
		FROM jobs WHERE id = $1`, id).
		Scan(&j.ID, &j.Type, &j.Hash, &j.Source, &j.State, &j.Stage, &j.Progress, &j.Attempt, &code, &message, &results)
	if err != nil {
		f.t.Fatalf("job %s: %v", id, err)
	}
	if code != "" {
		text, _ := json.Marshal(map[string]string{"code": code, "message": message})
		if err := json.Unmarshal(text, &j.Error); err != nil {
			f.t.Fatal(err)
		}
	}
	j.Results = json.RawMessage(results)
	return j
}

func (f *faultRig) rows() string {
	var all string
	_ = f.db.QueryRow(context.Background(), `
		SELECT coalesce(string_agg(format('%s %s %s %s%% attempt %s failures %s %s', id, state, stage, progress, attempt, failures, error_code), E'\n'), '')
		FROM jobs`).Scan(&all)
	return all
}

// rung waits until every doorbell has left for Redis.
func (f *faultRig) rung() {
	f.t.Helper()
	f.until("the outbox is empty", func() bool { return f.count(`SELECT count(*) FROM outbox`) == 0 })
}

// ends waits until a job is in its last state.
func (f *faultRig) ends(id, state string) (j fullJob) {
	f.t.Helper()
	f.until("job "+id+" is "+state, func() bool {
		j = f.row(id)
		if j.State != state && (j.State == "failed" || j.State == "succeeded" || j.State == "cancelled") {
			f.t.Fatalf("job %s should be %s and is %+v, error %+v", id, state, j, j.Error)
		}
		return j.State == state
	})
	return j
}

// succeeds waits until a job has succeeded, and wants so many attempts of it.
func (f *faultRig) succeeds(t *testing.T, id string, attempts int) {
	t.Helper()
	if j := f.ends(id, "succeeded"); j.Attempt != attempts {
		t.Errorf("job %s took %d attempts, want %d", id, j.Attempt, attempts)
	}
}

// film enters a film of a test's own: segments of 2 s, both outputs, encrypted.
func (f *faultRig) film(t *testing.T, size string, seconds int) (id string) {
	t.Helper()
	hash, source := f.upload(clip(t, size, seconds))
	return f.accepted(f.submit("video:transcode", hash, source, `{"encrypt":true,"segment_seconds":2,"early_publish":true}`))
}

// kill9 ends a process by SIGKILL. It is stopped first, so that no child is
// born unseen.
func (f *faultRig) kill9(p *process) {
	f.t.Helper()
	_ = p.cmd.Process.Signal(syscall.SIGSTOP)
	f.kin.look(f.t, f.all)
	_ = p.cmd.Process.Signal(syscall.SIGKILL)
	<-p.done
}

// outage is how long a fault lasts: its length is the fault.
func outage(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	}
}
