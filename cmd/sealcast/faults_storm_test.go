//go:build faults

package main

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sealcast/sealcast/internal/localstack"
)

// storm is what TestStorm does and sees.
type storm struct {
	*faultRig
	workers []*process
	first   []string       // the jobs as they were submitted
	request map[string]job // by job id, to ask again
	again   int            // jobs that failed for good and were asked for again
	kills   map[string]int // by what was killed
	victims []*victim
}

type job struct{ hash, source, options string }

// victim is a job whose worker was killed.
type victim struct {
	id      string
	attempt int
	killed  time.Time
	queued  time.Duration // until it was taken from the dead worker; 0: not yet
	back    time.Duration // until another attempt began: a full queue is part of it
}

func fromEnv(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil && n > 0 {
		return n
	}
	return otherwise
}

// TestStorm runs STORM_JOBS (500) short jobs on STORM_WORKERS (4) workers
// while workers, Redis and MinIO are killed at random, for the whole time or
// for STORM_SECONDS. Then nothing is lost, nothing is published twice, and
// every key fits. STORM_SEED repeats a storm.
func TestStorm(t *testing.T) {
	f := newCrashRig(t)
	f.env["LOG_LEVEL"] = "info"
	f.serveAPI()
	s := &storm{faultRig: f, request: map[string]job{}, kills: map[string]int{}}
	began := time.Now()
	s.enter(t, fromEnv("STORM_JOBS", 500))
	entered := time.Since(began)
	for range fromEnv("STORM_WORKERS", 4) {
		s.workers = append(s.workers, f.worker(nil))
	}
	seed := uint64(fromEnv("STORM_SEED", int(time.Now().UnixNano()&0x7fffffff)))
	t.Logf("seed %d", seed)
	s.rage(t, rand.New(rand.NewPCG(seed, 1)))
	worked := time.Since(began) - entered
	s.report(t, worked)
	s.check(t)
}

// enter submits the jobs: a film of one second, one rung.
func (s *storm) enter(t *testing.T, jobs int) {
	t.Helper()
	for i := range jobs {
		hash, source := s.upload(clip(t, "64x64", 1))
		output := []string{"cmaf", "ts"}[i%2]
		j := job{hash, source, fmt.Sprintf(`{"encrypt":true,"outputs":[%q],"segment_seconds":2}`, output)}
		id := s.accepted(s.submit("video:transcode", j.hash, j.source, j.options))
		s.first = append(s.first, id)
		s.request[id] = j
	}
}

// rage kills until every job has succeeded.
func (s *storm) rage(t *testing.T, dice *rand.Rand) {
	t.Helper()
	var calm <-chan time.Time
	if n := fromEnv("STORM_SECONDS", 0); n > 0 {
		calm = time.After(time.Duration(n) * time.Second)
	}
	next := time.Now()
	raging := true
	quiet := time.Now() // when something last succeeded
	done := 0
	for {
		s.follow(t)
		now := s.count(`SELECT count(*) FROM jobs WHERE state = 'succeeded'`)
		if now != done {
			done, quiet = now, time.Now()
		}
		if done == len(s.first) {
			return
		}
		if time.Since(quiet) > 4*time.Minute {
			t.Fatalf("nothing has moved for 4 min, %d of %d are done:\n%s", done, len(s.first), s.rows())
		}
		select {
		case <-calm:
			raging = false
		default:
		}
		if raging && time.Now().After(next) {
			s.strike(t, dice)
			next = time.Now().Add(time.Second + time.Duration(dice.IntN(5000))*time.Millisecond)
		}
		s.kin.look(t, s.all)
		time.Sleep(50 * time.Millisecond)
	}
}

// strike kills one thing and starts it again.
func (s *storm) strike(t *testing.T, dice *rand.Rand) {
	t.Helper()
	server := ""
	switch d := dice.IntN(10); {
	case d < 2:
		server = localstack.Redis
	case d < 4:
		server = localstack.MinIO
	}
	if server != "" {
		s.kills[server]++
		if err := s.stack.Crash(server); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(dice.IntN(2000)) * time.Millisecond)
		if err := s.stack.Revive(t.Context(), server); err != nil {
			t.Fatal(err)
		}
		return
	}
	s.kills["worker"]++
	i := dice.IntN(len(s.workers))
	s.kill9(s.workers[i])
	s.fallen(t, s.workers[i])
	s.workers[i] = s.run(nil, []string{"worker"}) // it comes up while the storm goes on
}

// fallen notes the jobs that a killed worker had.
func (s *storm) fallen(t *testing.T, p *process) {
	t.Helper()
	_, rest, _ := strings.Cut(p.out.String(), `"worker started","worker":"`)
	name, _, _ := strings.Cut(rest, `"`)
	rows, err := s.db.Query(t.Context(), `SELECT id, attempt FROM jobs WHERE state = 'running' AND worker = $1`, name)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		v := &victim{killed: time.Now()}
		if err := rows.Scan(&v.id, &v.attempt); err != nil {
			t.Fatal(err)
		}
		s.victims = append(s.victims, v)
	}
}

// follow sees which victims run again, asks again for jobs that failed for
// good, and starts workers that gave up because a server was away.
func (s *storm) follow(t *testing.T) {
	t.Helper()
	for _, v := range s.victims {
		if v.queued == 0 && s.count(`SELECT count(*) FROM jobs WHERE id = $1 AND (attempt > $2 OR state <> 'running')`, v.id, v.attempt) == 1 {
			v.queued = time.Since(v.killed)
		}
		if v.back == 0 && s.count(`SELECT count(*) FROM jobs WHERE id = $1 AND (attempt > $2 OR finished_at IS NOT NULL)`, v.id, v.attempt) == 1 {
			v.back = time.Since(v.killed)
		}
	}
	var failed []string
	if err := s.db.QueryRow(t.Context(), `SELECT coalesce(array_agg(id), '{}') FROM jobs WHERE state = 'failed'`).Scan(&failed); err != nil {
		t.Fatal(err)
	}
	for _, id := range failed {
		if j, known := s.request[id]; known {
			s.request[s.accepted(s.submit("video:transcode", j.hash, j.source, j.options))] = j
			delete(s.request, id)
			s.again++
		}
	}
	for i, p := range s.workers {
		select {
		case <-p.done:
			s.workers[i] = s.run(nil, []string{"worker"})
		default:
		}
	}
}

func (s *storm) report(t *testing.T, worked time.Duration) {
	t.Helper()
	var back, queued []time.Duration
	for _, v := range s.victims {
		if v.queued > 0 {
			queued = append(queued, v.queued)
		}
		if v.back > 0 {
			back = append(back, v.back)
		}
	}
	fenced := 0
	for _, p := range s.all {
		fenced += strings.Count(p.out.String(), `"outcome":"fenced"`)
	}
	t.Logf(`
jobs               %d in %.0f s
attempts           %d
kills              %v
fenced writes      %d
asked for again    %d (every attempt lost its worker)
lost their worker  %d jobs
  queued again     p50 %.1f s, p99 %.1f s
  running again    p50 %.1f s, p99 %.1f s (a full queue is part of it)`,
		len(s.first), worked.Seconds(), s.count(`SELECT sum(attempt) FROM jobs`), s.kills, fenced, s.again,
		len(s.victims), percentile(queued, 50).Seconds(), percentile(queued, 99).Seconds(),
		percentile(back, 50).Seconds(), percentile(back, 99).Seconds())
}

// percentile of unsorted values; 0 of none.
func percentile[T cmp.Ordered](values []T, p int) (v T) {
	sorted := slices.Sorted(slices.Values(values))
	if len(sorted) == 0 {
		return v
	}
	return sorted[min(len(sorted)-1, len(sorted)*p/100)]
}

// check counts what was lost, published twice, or does not open with its key.
func (s *storm) check(t *testing.T) {
	t.Helper()
	lost := s.count(`SELECT count(*) FROM jobs WHERE state NOT IN ('succeeded', 'failed')`) +
		len(s.first) - s.count(`SELECT count(DISTINCT hash) FROM publications`)
	double := s.count(`SELECT count(*) FROM (SELECT 1 FROM publications GROUP BY hash HAVING count(*) > 1) AS d`)
	var ids []string
	if err := s.db.QueryRow(context.Background(), `SELECT array_agg(id) FROM jobs WHERE state = 'succeeded'`).Scan(&ids); err != nil {
		t.Fatal(err)
	}
	var wrong sync.Map
	var wg sync.WaitGroup
	slots := make(chan struct{}, 4)
	for _, id := range ids {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			if err := s.plays(s.row(id)); err != nil {
				wrong.Store(id, err)
			}
		})
	}
	wg.Wait()
	count := 0
	wrong.Range(func(id, err any) bool {
		count++
		t.Errorf("job %s does not play: %v", id, err)
		return true
	})
	t.Logf("lost %d, published twice %d, wrong keys %d", lost, double, count)
	if lost != 0 || double != 0 || len(ids) != len(s.first) {
		t.Errorf("%d lost, %d published twice, %d of %d succeeded", lost, double, len(ids), len(s.first))
	}
	for _, id := range ids {
		s.whole(t, s.row(id))
	}
	for _, p := range s.workers {
		p.stop(t)
	}
	s.nothingLeft(t)
	s.noSecrets(t)
}
