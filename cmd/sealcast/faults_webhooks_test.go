//go:build faults

package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// Receivers of webhooks that hang, redirect inward, or send 1 GB: jobs do not
// wait for them, a redirect is not followed, the memory stays small, and a
// good receiver gets its message.
func TestFaultsWebhookReceivers(t *testing.T) {
	t.Parallel()
	f := newFaultRig(t)
	var inward, good, poured atomic.Int64
	serve := func(h http.HandlerFunc) string {
		srv := httptest.NewServer(h)
		t.Cleanup(func() { srv.CloseClientConnections(); srv.Close() })
		return srv.URL
	}
	inside := serve(func(http.ResponseWriter, *http.Request) { inward.Add(1) })
	receivers := []string{
		serve(func(http.ResponseWriter, *http.Request) { <-t.Context().Done() }),
		serve(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, inside+"/latest/meta-data", http.StatusTemporaryRedirect)
		}),
		serve(func(w http.ResponseWriter, _ *http.Request) {
			for range 1 << 10 {
				n, err := w.Write(make([]byte, 1<<20))
				poured.Add(int64(n))
				if err != nil {
					return
				}
			}
		}),
		serve(func(http.ResponseWriter, *http.Request) { good.Add(1) }),
	}
	var allow []string
	for _, url := range receivers {
		allow = append(allow, strings.TrimPrefix(url, "http://"))
	}
	f.env["WEBHOOK_SECRET"] = "whsec_" + "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
	f.env["WEBHOOK_ALLOW"] = strings.Join(allow, ",")
	f.serveAPI()
	worker := f.worker(nil)
	for _, url := range receivers {
		hash, source := f.upload(clip(t, "320x240", 2))
		body := fmt.Sprintf(`{"type":"video:transcode","hash":%q,"source":%q,"options":{"encrypt":true},"callback_url":%q}`, hash, source, url+"/hook")
		id := f.accepted(f.do("POST", "/api/jobs", body, "Content-Type: application/json", "X-API-Key: "+f.env["API_KEY"]))
		f.succeeds(t, id, 1)
	}
	f.until("the good receiver has its message", func() bool { return good.Load() > 0 })
	f.until("the others were tried", func() bool { return poured.Load() > 0 })
	outage(t, 5*time.Second) // long enough to follow and to read, were it done
	if inward.Load() != 0 {
		t.Errorf("%d requests went inward", inward.Load())
	}
	if n := poured.Load(); n > 64<<20 {
		t.Errorf("%d bytes of an answer were taken", n)
	}
	for _, p := range []*process{worker, f.api} {
		if kib := peakMemory(t, p); kib > 512<<10 {
			t.Errorf("a process took %d KiB", kib)
		}
	}
	f.invariants(t)
}

// peakMemory is the high-water mark of a process's memory, in KiB.
func peakMemory(t *testing.T, p *process) int {
	t.Helper()
	status, err := os.ReadFile("/proc/" + strconv.Itoa(p.cmd.Process.Pid) + "/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	field := strings.Fields(rest)
	if len(field) == 0 {
		t.Fatal("the process has no VmHWM")
	}
	kib, err := strconv.Atoi(field[0])
	if err != nil {
		t.Fatal(err)
	}
	return kib
}
