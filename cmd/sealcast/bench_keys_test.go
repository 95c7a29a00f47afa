package main

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/sealcast/sealcast/keystore"
)

const (
	benchTitles      = 200       // that are asked for, whatever else lies in the table
	benchRows        = 1_000_000 // BENCH_ROWS sets another number
	benchConnections = 16
	benchPeriod      = 2 * time.Second
	benchTurns       = 5 // of the bare handler and the API, by turns
)

// load is what the clients saw, and what it cost.
type load struct {
	perSecond     float64
	p50, p99      time.Duration
	failures      int64
	clientCPU     time.Duration // per request
	apiCPU, pgCPU time.Duration // per request
}

// BenchmarkKeyEndpoint asks `sealcast api` for keys, with the audit trail on,
// over 16 connections on loopback, by turns with a bare net/http handler that
// returns 16 bytes: with a thousand key rows, during a rewrap, with a million. The rewrap moves
// those that open, to and fro. Filling in a million rows takes a minute or more.
func BenchmarkKeyEndpoint(b *testing.B) {
	for b.Loop() {
		r := newRig(b)
		r.env["KEK_2"] = randomHex(32)
		r.env["KEY_LIMIT_CLIENT_PER_MINUTE"], r.env["KEY_LIMIT_TOKEN_PER_MINUTE"], r.env["LOG_LEVEL"] = "2000000000", "2000000000", "info"
		store := r.keyStore(1)
		requests := make([]*http.Request, benchTitles)
		for i := range requests {
			hash, _ := r.title(store, i)
			req, err := http.NewRequest(http.MethodGet, r.env["BASE_URL"]+"/api/key/"+hash, nil)
			if err != nil {
				b.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer "+r.token(hash, time.Hour))
			requests[i] = req
		}
		// Its log goes where reading it costs the clients nothing.
		p := r.start([]string{"api"}, "sh", "-c", `exec "$@" >/dev/null`, "sh")
		r.ready(p)
		api := target{p.cmd.Process.Pid, requests}
		bare := benchBareHandler(b, requests)
		var out strings.Builder
		fmt.Fprintf(&out, "\n%-22s %9s %9s %9s %8s %26s\n", "", "req/s", "p50", "p99", "failed", "CPU client / server / Postgres")
		show := func(name string, l load) {
			fmt.Fprintf(&out, "%-22s %9.0f %9s %9s %8d %10s / %s / %s\n", name, l.perSecond, l.p50.Round(10*time.Microsecond), l.p99.Round(10*time.Microsecond),
				l.failures, l.clientCPU.Round(100*time.Nanosecond), l.apiCPU.Round(100*time.Nanosecond), l.pgCPU.Round(100*time.Nanosecond))
		}
		r.fillKeys(1, 1000-benchTitles)
		thousand := r.byTurns(bare, api)
		show("bare handler", thousand.bare)
		show("1000 key rows", thousand.api)
		rewrap := r.drive(api, benchPeriod, func(stop <-chan struct{}) {
			for n := 2; ; n = 3 - n { // to and fro
				select {
				case <-stop:
					return
				default:
				}
				if _, err := r.keyStore(n).Rewrap(b.Context(), keystore.RewrapOptions{Batch: 50}); err != nil {
					b.Error(err)
					return
				}
			}
		})
		show("during a rewrap", rewrap)
		rows := benchRows
		if n, err := strconv.Atoi(os.Getenv("BENCH_ROWS")); err == nil && n > 0 {
			rows = n
		}
		r.fillKeys(1000, rows-benchTitles)
		million := r.byTurns(bare, api)
		show("bare handler", million.bare)
		show(fmt.Sprintf("%d key rows", rows), million.api)
		fmt.Fprintf(&out, "key endpoint / bare handler %.2f (%.2f to %.2f) and %.2f (%.2f to %.2f) (goal ≥ 0.6), many rows / 1000 rows %.2f (goal ≥ 0.9)\n",
			thousand.ratio, thousand.least, thousand.most, million.ratio, million.least, million.most, million.ratio/thousand.ratio)
		b.Log(out.String())
		b.ReportMetric(thousand.ratio, "of-bare")
		b.ReportMetric(million.ratio/thousand.ratio, "million/thousand")
		if failed := thousand.api.failures + rewrap.failures + million.api.failures; failed > 0 {
			b.Errorf("%d requests failed", failed)
		}
		if failed := thousand.bare.failures + million.bare.failures; failed > 0 {
			b.Errorf("%d requests to the bare handler failed", failed)
		}
		p.end(b)
	}
}

// target is a process and what it is asked.
type target struct {
	pid      int
	requests []*http.Request
}

// turns are the median loads of two targets that were asked by turns, and the
// ratios of each turn of one to the turn of the other beside it: what else the
// machine does changes from second to second.
type turns struct {
	bare, api          load
	ratio, least, most float64
}

// byTurns drives bare and api benchTurns times each, after a warm-up.
func (r *rig) byTurns(bare, api target) turns {
	r.t.Helper()
	r.drive(bare, time.Second, nil)
	r.drive(api, 2*time.Second, nil)
	var bares, apis []load
	var ratios []float64
	for turn := range benchTurns {
		var b, a load
		if turn%2 == 0 { // what one leaves behind is not always the other's
			b = r.drive(bare, benchPeriod, nil)
			a = r.drive(api, benchPeriod, nil)
		} else {
			a = r.drive(api, benchPeriod, nil)
			b = r.drive(bare, benchPeriod, nil)
		}
		bares, apis, ratios = append(bares, b), append(apis, a), append(ratios, a.perSecond/b.perSecond)
	}
	slices.Sort(ratios)
	return turns{bare: medianLoad(bares), api: medianLoad(apis), ratio: ratios[benchTurns/2], least: ratios[0], most: ratios[benchTurns-1]}
}

// medianLoad is the load with the median rate, and the failures of all.
func medianLoad(loads []load) load {
	slices.SortFunc(loads, func(a, b load) int { return cmp.Compare(a.perSecond, b.perSecond) })
	median := loads[len(loads)/2]
	median.failures = 0
	for _, l := range loads {
		median.failures += l.failures
	}
	return median
}

// bareHandler is a program with a handler that returns 16 bytes and does nothing
// else, on the listener that it was given, with the runtime's settings of sealcast api.
func bareHandler() {
	debug.SetGCPercent(apiGCPercent)
	ln, err := net.FileListener(os.NewFile(3, "listener"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	key := bytes.Repeat([]byte{1}, 16)
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/octet-stream")
		_, _ = w.Write(key)
	})}
	_ = srv.Serve(ln)
}

// benchBareHandler starts bareHandler, which like the API is another process
// than the clients. It ends with the benchmark.
func benchBareHandler(b *testing.B, requests []*http.Request) target {
	b.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	file, err := ln.(*net.TCPListener).File()
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	cmd := exec.Command("barehandler")
	cmd.ExtraFiles, cmd.Stderr = []*os.File{file}, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	same := make([]*http.Request, len(requests))
	for i, req := range requests {
		same[i] = req.Clone(b.Context())
		same[i].URL.Host, same[i].Host = ln.Addr().String(), ln.Addr().String()
	}
	return target{cmd.Process.Pid, same}
}

// drive sends requests for a time over benchConnections connections, each after
// the answer to the one before. beside runs meanwhile.
func (r *rig) drive(to target, period time.Duration, beside func(stop <-chan struct{})) load {
	r.t.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: benchConnections, DisableCompression: true}
	defer transport.CloseIdleConnections()
	stop := make(chan struct{})
	var group, other sync.WaitGroup
	if beside != nil {
		other.Go(func() { beside(stop) })
	}
	backends := r.backends()
	client, api, pg := selfCPU(), processCPU(to.pid), processCPU(backends...)
	var failures atomic.Int64
	took := make([][]time.Duration, benchConnections)
	began := time.Now()
	for c := range benchConnections {
		group.Go(func() {
			body := make([]byte, 64)
			for i := c; time.Since(began) < period; i += benchConnections {
				start := time.Now()
				resp, err := transport.RoundTrip(to.requests[i*7%len(to.requests)])
				if err != nil {
					failures.Add(1)
					continue
				}
				n, _ := io.ReadFull(resp.Body, body)
				_ = resp.Body.Close()
				if resp.StatusCode != http.StatusOK || n != 16 {
					failures.Add(1)
				}
				took[c] = append(took[c], time.Since(start))
			}
		})
	}
	group.Wait()
	wall := time.Since(began)
	clientUsed, apiUsed, pgUsed := selfCPU()-client, processCPU(to.pid)-api, processCPU(backends...)-pg
	close(stop)
	other.Wait()
	all := slices.Concat(took...)
	slices.Sort(all)
	n := len(all)
	if n == 0 {
		r.t.Fatal("no request came back")
	}
	return load{
		perSecond: float64(n) / wall.Seconds(), p50: all[n/2], p99: all[n*99/100], failures: failures.Load(),
		clientCPU: clientUsed / time.Duration(n), apiCPU: apiUsed / time.Duration(n), pgCPU: pgUsed / time.Duration(n),
	}
}

// fillKeys adds rows that nobody asks for, and that open for nobody.
func (r *rig) fillKeys(from, to int) {
	r.t.Helper()
	// The two indexes that no key request uses are made anew behind a long insert,
	// row by row they take most of its time.
	many := to-from > 100_000
	sql := func(text string, args ...any) {
		r.t.Helper()
		if _, err := r.db.Exec(r.t.Context(), text, args...); err != nil {
			r.t.Fatal(err)
		}
	}
	if many {
		sql(`DROP INDEX content_keys_kek, content_keys_hash`)
	}
	sql(`
		INSERT INTO content_keys (kid, hash, job_id, attempt, track, scheme, wrapped_key, wrap_nonce, kek_version, key_uri, is_default, state, activated_at)
		SELECT decode(md5('kid' || i), 'hex'), md5('a' || i) || md5('b' || i), 'fill-' || i, 1, 'cmaf', 'cbcs',
			sha256(int8send(i)), substr(sha256(int8send(-i)), 1, 12), 1, 'https://v.example/' || i, true, 'active', now()
		FROM generate_series($1::bigint, $2::bigint) AS i`, from, to)
	if many {
		sql(`CREATE INDEX content_keys_hash ON content_keys (hash)`)
		sql(`CREATE INDEX content_keys_kek ON content_keys (kek_version) WHERE wrapped_key IS NOT NULL`)
	}
	sql(`VACUUM ANALYZE content_keys`) // as it is after some minutes
	sql(`CHECKPOINT`)
}

// backends are the server processes of the rig's database.
func (r *rig) backends() (pids []int) {
	r.t.Helper()
	err := r.db.QueryRow(r.t.Context(), `SELECT array_agg(pid) FROM pg_stat_activity WHERE datname = current_database()`).Scan(&pids)
	if err != nil {
		r.t.Fatal(err)
	}
	return pids
}

func selfCPU() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// processCPU adds up the CPU time of processes; one that has gone counts nothing.
func processCPU(pids ...int) (sum time.Duration) {
	const tick = 10 * time.Millisecond // USER_HZ is 100
	for _, pid := range pids {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue
		}
		fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		for _, field := range fields[11:13] { // utime, stime
			n, _ := strconv.Atoi(field)
			sum += time.Duration(n) * tick
		}
	}
	return sum
}
