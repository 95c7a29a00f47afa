package worker

import (
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// host is a machine whose memory the test sets.
type host struct {
	mu     sync.Mutex
	memory Memory
	err    error
}

func (h *host) read() (Memory, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.memory, h.err
}

func (h *host) set(m Memory) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.memory = m
}

func gaugeValue(t *testing.T, g prometheus.Gauge) float64 {
	t.Helper()
	var m dto.Metric
	if err := g.Write(&m); err != nil {
		t.Fatal(err)
	}
	return m.GetGauge().GetValue()
}

func someAdmission(t *testing.T, need int64, h *host) *admission {
	t.Helper()
	a, err := newAdmission(need, h.read, NewMetrics(nil).waiting, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestAdmission(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &host{memory: Memory{Capacity: 100, Available: 90}}
		a := someAdmission(t, 30, h)
		enter := func() (func(), bool) { return a.enter(t.Context().Done(), 1) }

		first, ok := enter()
		_, ok2 := enter()
		if !ok || !ok2 {
			t.Fatal("two attempts fit and were refused")
		}
		// The two have just begun: their memory still counts as available.
		h.set(Memory{Capacity: 100, Available: 70})
		began := time.Now()
		if _, ok := enter(); ok {
			t.Error("memory that two attempts are about to use was given to a third")
		}
		if waited := time.Since(began); waited != admissionPatience {
			t.Errorf("waited %s, want %s", waited, admissionPatience)
		}
		// Later they have what they need.
		time.Sleep(warmUp)
		third, ok := enter()
		if !ok {
			t.Error("the third attempt fits and was refused")
		}
		// A fourth would be more than the machine has, whatever is free.
		h.set(Memory{Capacity: 100, Available: 100})
		if _, ok := enter(); ok {
			t.Error("four attempts reserve more than there is")
		}
		// One that waits goes on as soon as another ends.
		began = time.Now()
		done := make(chan bool)
		go func() { _, ok := enter(); done <- ok }()
		synctest.Wait()
		if got := gaugeValue(t, a.waiting); got != 1 {
			t.Errorf("%v wait, want 1", got)
		}
		first()
		if ok := <-done; !ok || time.Since(began) != 0 {
			t.Errorf("admitted %t after %s", ok, time.Since(began))
		}
		if got := gaugeValue(t, a.waiting); got != 0 {
			t.Errorf("%v wait, want none", got)
		}
		third()
	})
}

// A shutdown does not wait for memory.
func TestAdmissionStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := someAdmission(t, 30, &host{memory: Memory{Capacity: 100, Available: 10}})
		stop := make(chan struct{})
		began := time.Now()
		time.AfterFunc(time.Second/2, func() { close(stop) })
		if _, ok := a.enter(stop, 1); ok || time.Since(began) != time.Second/2 {
			t.Errorf("admitted %t after %s", ok, time.Since(began))
		}
	})
}

func TestAdmissionThatNobodyCanHave(t *testing.T) {
	h := &host{memory: Memory{Capacity: 100 << 20, Available: 90 << 20}}
	_, err := newAdmission(101<<20, h.read, NewMetrics(nil).waiting, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "101 MiB") || !strings.Contains(err.Error(), "100 MiB") {
		t.Errorf("got %v", err)
	}
	h.err = errors.New("no /proc here")
	for _, a := range []*admission{someAdmission(t, 1, h), someAdmission(t, 0, h)} {
		if _, ok := a.enter(nil, 1); !ok {
			t.Error("refused without knowing the memory")
		}
	}
}

func TestReadMemory(t *testing.T) {
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	const meminfo = "MemTotal:       1000 kB\nMemFree: 1 kB\nMemAvailable:    800 kB\n"
	for _, c := range []struct {
		name string
		fs   fstest.MapFS
		want Memory
	}{
		{"no control group", fstest.MapFS{}, Memory{1024000, 819200}},
		{"version 2, the outer group is the narrow one", fstest.MapFS{
			"proc/self/cgroup":                 file("0::/a/b\n"),
			"sys/fs/cgroup/a/b/memory.max":     file("max\n"),
			"sys/fs/cgroup/a/b/memory.current": file("5\n"),
			"sys/fs/cgroup/a/memory.max":       file("500000\n"),
			"sys/fs/cgroup/a/memory.current":   file("400000\n"),
			"sys/fs/cgroup/a/memory.stat":      file("anon 1\ninactive_file 30000\nactive_file 2\n"),
		}, Memory{500000, 130000}},
		{"version 2 in a container", fstest.MapFS{
			"proc/self/cgroup":             file("0::/../../outside\n"),
			"sys/fs/cgroup/memory.max":     file("600000\n"),
			"sys/fs/cgroup/memory.current": file("100000\n"),
		}, Memory{600000, 500000}},
		{"version 1", fstest.MapFS{
			"proc/self/cgroup": file("5:cpu,cpuacct:/x\n4:hugetlb,memory:/job\n0::/\n"),
			"sys/fs/cgroup/memory/job/memory.limit_in_bytes": file("300000\n"),
			"sys/fs/cgroup/memory/job/memory.usage_in_bytes": file("290000\n"),
			"sys/fs/cgroup/memory/job/memory.stat":           file("total_inactive_file 1000\n"),
			"sys/fs/cgroup/memory/memory.limit_in_bytes":     file("9223372036854771712\n"),
			"sys/fs/cgroup/memory/memory.usage_in_bytes":     file("400000\n"),
		}, Memory{300000, 11000}},
	} {
		c.fs["proc/meminfo"] = file(meminfo)
		if got, err := readMemory(c.fs); err != nil || got != c.want {
			t.Errorf("%s: got %+v, %v, want %+v", c.name, got, err, c.want)
		}
	}
	if _, err := readMemory(fstest.MapFS{"proc/meminfo": file("MemTotal: 5 kB\n")}); err == nil {
		t.Error("half an answer was taken")
	}
	if m, err := HostMemory(); err != nil || m.Available <= 0 || m.Available > m.Capacity {
		t.Errorf("this machine: %+v, %v", m, err)
	}
}

// A job waits while its memory is missing, is never lost, and runs when there
// is enough; those of large files are of lower priority.
func TestJobWaitsForMemory(t *testing.T) {
	h := newHouse(t)
	machine := &host{memory: Memory{Capacity: 100, Available: 10}}
	p := newScript()
	h.dispatcher(nil)
	metrics := NewMetrics(nil)
	h.worker(p, func(c *Config) { c.AttemptMemory, c.Memory, c.Metrics = 30, machine.read, metrics })
	sub := request(1, "")
	sub.Queue = QueueLarge
	job := h.submit(sub)
	h.eventually("the job waits", func() bool { return gaugeValue(t, metrics.waiting) == 1 })
	if got := h.get(job.ID); got.State != StateQueued || got.Attempt != 0 {
		t.Errorf("the job is %s, attempt %d", got.State, got.Attempt)
	}
	machine.set(Memory{Capacity: 100, Available: 80})
	call := p.next(t)
	if call.req.Nice != largeNice {
		t.Errorf("priority %d, want %d", call.req.Nice, largeNice)
	}
	call.succeed()
	h.await(job.ID, StateSucceeded)
	h.invariants()
}
