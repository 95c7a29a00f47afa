package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/sealcast/sealcast/internal/cenc"
	"github.com/sealcast/sealcast/keystore"
)

// invariants checks what holds after every fault, when all is quiet again: it
// ends the workers, and needs an API.
func (f *faultRig) invariants(t *testing.T) {
	t.Helper()
	if f.api == nil {
		f.serveAPI()
	}
	for _, id := range f.ids(t) {
		f.onePublication(t, id)
	}
	for _, p := range f.all {
		if p != f.api {
			p.stop(t)
		}
	}
	if n := f.count(`SELECT count(*) FROM early_publications e JOIN jobs j ON j.id = e.job_id WHERE j.state <> 'running' OR j.attempt <> e.attempt`); n != 0 {
		t.Errorf("%d attempts that have ended are still to be seen", n)
	}
	f.nothingLeft(t)
	f.noSecrets(t)
}

func (f *faultRig) ids(t *testing.T) (ids []string) {
	t.Helper()
	if err := f.db.QueryRow(t.Context(), `SELECT coalesce(array_agg(id), '{}') FROM jobs`).Scan(&ids); err != nil {
		t.Fatal(err)
	}
	if len(ids) == 0 {
		t.Error("there is no job: nothing is checked")
	}
	return ids
}

// onePublication wants exactly one publication of a job that succeeded and
// none of any other; the current one must be whole and play.
func (f *faultRig) onePublication(t *testing.T, id string) {
	t.Helper()
	j, want := f.row(id), 0
	if j.State == "succeeded" && j.Type != "video:plan" {
		want = 1
	}
	if n := f.count(`SELECT (SELECT count(*) FROM publications WHERE job_id = $1) + (SELECT count(*) FROM asset_parts WHERE job_id = $1)`, id); n != want {
		t.Errorf("job %s is %s and has %d publications", id, j.State, n)
	}
	if n := f.count(`SELECT count(DISTINCT attempt) FROM content_keys WHERE job_id = $1 AND state = 'active'`, id); n > want {
		t.Errorf("job %s is %s and has active keys of %d attempts", id, j.State, n)
	}
	if want == 1 {
		f.whole(t, j)
	}
	if want == 1 && f.count(`SELECT count(*) FROM publications WHERE job_id = $1`, id) == 1 {
		f.play(j)
	}
}

// whole compares the objects below a publication's prefix with its inventory.
func (f *faultRig) whole(t *testing.T, j fullJob) {
	t.Helper()
	rows, err := f.db.Query(t.Context(), `
		SELECT 'stream/' || p.hash || '/' || p.prefix || '/' || o.name, o.size, o.sha256
		FROM publications p JOIN publication_objects o ON o.prefix = p.prefix WHERE p.job_id = $1
		UNION ALL
		SELECT 'stream/' || p.hash || '/' || p.prefix || '/' || o.name, o.size, o.sha256
		FROM asset_parts p JOIN asset_part_objects o ON o.prefix = p.prefix WHERE p.job_id = $1`, j.ID)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	objects := map[string]bool{}
	folder := ""
	for rows.Next() {
		var key string
		var size int64
		var sum []byte
		if err := rows.Scan(&key, &size, &sum); err != nil {
			t.Fatal(err)
		}
		objects[key] = true
		folder = strings.Join(strings.Split(key, "/")[:3], "/") + "/"
		if err := sameObject(f, key, size, sum); err != nil {
			t.Errorf("job %s: %v", j.ID, err)
		}
	}
	if err := rows.Err(); err != nil || len(objects) == 0 {
		t.Fatalf("job %s: %d objects in the inventory, %v", j.ID, len(objects), err)
	}
	listed, err := f.media.List(t.Context(), folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range listed {
		if !objects[o.Key] {
			t.Errorf("job %s: %s is not in the inventory", j.ID, o.Key)
		}
	}
}

func sameObject(f *faultRig, key string, size int64, sum []byte) error {
	body, err := f.media.Get(context.Background(), key, "", 0, -1)
	if err != nil {
		return err
	}
	defer body.Close()
	b, err := io.ReadAll(body)
	if err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	if got := sha256.Sum256(b); int64(len(b)) != size || !bytes.Equal(got[:], sum) {
		return fmt.Errorf("%s: %d bytes with SHA-256 %x, the inventory has %d and %x", key, len(b), got, size, sum)
	}
	return nil
}

// family knows processes by id and the time of their start.
type family map[int]string

// look adds the descendants of the given processes.
func (k family) look(t testing.TB, of []*process) {
	for _, p := range of {
		select {
		case <-p.done:
			continue
		default:
		}
		for _, pid := range children(t, p.cmd.Process.Pid) {
			if began := startOf(pid); began != "" {
				k[pid] = began
			}
		}
	}
}

// alive are those that run, with their command lines.
func (k family) alive() (left []string) {
	for pid, began := range k {
		if now := startOf(pid); now != "" && now == began {
			line, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
			left = append(left, fmt.Sprintf("%d %.120q", pid, line))
		}
	}
	return left
}

// startOf is when a process began, in ticks since boot; empty when it is gone
// or waits to be reaped.
func startOf(pid int) string {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return ""
	}
	f := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(f) < 20 || f[0] == "Z" {
		return ""
	}
	return f[19]
}

// nothingLeft wants no process, no temporary file, no multipart upload.
func (f *faultRig) nothingLeft(t *testing.T) {
	t.Helper()
	var left []string
	for deadline := time.Now().Add(15 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if left = f.kin.alive(); len(left) == 0 || time.Now().After(deadline) {
			break
		}
	}
	for _, p := range left {
		t.Errorf("process %s outlives its worker", p)
	}
	scratchEmpty(t, f.rig)
	client, err := minio.NewCore(hostOf(t, f.stack.S3Endpoint), &minio.Options{
		Creds: credentials.NewStaticV4(f.stack.S3AccessKey, f.stack.S3SecretKey, ""), Region: f.stack.S3Region,
	})
	if err != nil {
		t.Fatal(err)
	}
	f.store.mu.Lock()
	defer f.store.mu.Unlock()
	for _, path := range f.store.parts {
		bucket, key, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
		open, err := client.ListMultipartUploads(t.Context(), bucket, key, "", "", "", 10)
		if err != nil || len(open.Uploads) > 0 {
			t.Errorf("%s has %d open multipart uploads, %v", path, len(open.Uploads), err)
		}
	}
}

// noSecrets looks for keys and secrets in logs, Redis and argv.
func (f *faultRig) noSecrets(t *testing.T) {
	t.Helper()
	keys := f.contentKeys(t)
	var found []string
	for _, p := range f.all {
		log := p.out.String()
		found = append(found, search("a log", []byte(log), keys)...)
		for name, value := range f.secrets(t) {
			if strings.Contains(log, value) {
				found = append(found, "a log as "+name)
			}
		}
	}
	found = append(found, searchProcesses(keys)...)
	found = append(found, searchRedis(t, f.env["REDIS_URL"], keys)...)
	for pid, line := range processes(t) {
		for name, value := range f.secrets(t) {
			if strings.Contains(strings.Join(line, " "), value) {
				found = append(found, fmt.Sprintf("the argv of %d as %s", pid, name))
			}
		}
	}
	for _, where := range found {
		t.Errorf("a secret stands in %s", where)
	}
}

// secrets are those of the environment.
func (f *faultRig) secrets(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, name := range []string{"API_KEY", "KEY_TOKEN_SECRET", "KEK_1", "S3_SECRET_KEY"} {
		out[name] = f.env[name]
	}
	for _, name := range []string{"DATABASE_URL", "REDIS_URL"} {
		u, err := url.Parse(f.env[name])
		if err != nil {
			t.Fatal(err)
		}
		out[name], _ = u.User.Password()
	}
	return out
}

// contentKeys opens every content key that was ever issued here.
func (f *faultRig) contentKeys(t *testing.T) (keys [][]byte) {
	t.Helper()
	kek, err := hex.DecodeString(f.env["KEK_1"])
	if err != nil {
		t.Fatal(err)
	}
	ring, err := keystore.NewKeyring(1, map[int][]byte{1: kek})
	if err != nil {
		t.Fatal(err)
	}
	store, err := keystore.Open(t.Context(), f.db, ring, nil)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := f.db.Query(t.Context(), `SELECT hash, kid FROM content_keys WHERE wrapped_key IS NOT NULL`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	type name struct {
		hash string
		kid  cenc.KID
	}
	var names []name
	for rows.Next() {
		var hash string
		var kid []byte
		if err := rows.Scan(&hash, &kid); err != nil {
			t.Fatal(err)
		}
		names = append(names, name{hash, cenc.KID(kid)})
	}
	for _, n := range names {
		key, err := store.Get(t.Context(), n.hash, n.kid)
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, key.Content.Bytes())
	}
	return keys
}
