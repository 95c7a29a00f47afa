package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sealcast/sealcast/internal/cenc"
	"github.com/sealcast/sealcast/keystore"
)

// spellings are the ways in which a key could be written.
func spellings(key []byte) map[string][]byte {
	h := hex.EncodeToString(key)
	return map[string][]byte{
		"raw": key, "hex": []byte(h), "upper-case hex": []byte(strings.ToUpper(h)),
		"base64":      []byte(base64.RawStdEncoding.EncodeToString(key)),
		"base64url":   []byte(base64.RawURLEncoding.EncodeToString(key)),
		"key id form": []byte(h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]),
	}
}

// search says where any of the keys stands in the text.
func search(where string, text []byte, keys [][]byte) []string {
	var found []string
	for _, key := range keys {
		for how, s := range spellings(key) {
			if bytes.Contains(text, s) {
				found = append(found, where+" as "+how)
			}
		}
	}
	return found
}

// searchProcesses looks through the argv and the environment of every process.
func searchProcesses(keys [][]byte) []string {
	var found []string
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	environs, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, file := range append(files, environs...) {
		if text, err := os.ReadFile(file); err == nil {
			found = append(found, search(file, text, keys)...)
		}
	}
	return found
}

// searchFolder looks through every file below a folder.
func searchFolder(dir string, keys [][]byte) []string {
	var found []string
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if text, err := os.ReadFile(path); err == nil {
				found = append(found, search(path, text, keys)...)
			}
		}
		return nil
	})
	return found
}

// searchRedis looks through every key of every database, as Redis dumps it.
func searchRedis(t *testing.T, url string, keys [][]byte) []string {
	t.Helper()
	opt, err := redis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(opt)
	defer client.Close()
	var found []string
	scan := client.Scan(t.Context(), 0, "*", 1000).Iterator()
	for scan.Next(t.Context()) {
		name := scan.Val()
		found = append(found, search("redis key", []byte(name), keys)...)
		// DUMP compresses long strings; read the kinds that asynq uses too.
		dump, _ := client.Dump(t.Context(), name).Bytes()
		found = append(found, search("redis "+name, dump, keys)...)
		hash, _ := client.HGetAll(t.Context(), name).Result()
		for field, value := range hash {
			found = append(found, search("redis "+name+" "+field, []byte(value), keys)...)
		}
	}
	if err := scan.Err(); err != nil {
		t.Fatal(err)
	}
	return found
}

// During and after a job the content keys stand nowhere: not in a log, an
// argv, an environment, Redis or a scratch file.
func TestE2EKeysAreNowhere(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	server := r.serve()
	kek, err := hex.DecodeString(r.env["KEK_1"])
	if err != nil {
		t.Fatal(err)
	}
	ring, err := keystore.NewKeyring(1, map[int][]byte{1: kek})
	if err != nil {
		t.Fatal(err)
	}
	store, err := keystore.Open(t.Context(), r.db, ring, nil)
	if err != nil {
		t.Fatal(err)
	}
	hash, source := r.upload(clip(t, "1280x720", 12))
	id := r.accepted(r.submit("video:transcode", hash, source, `{"encrypt":true}`))

	var keys [][]byte
	var found []string
	looks := map[string]int{}
	for deadline := time.Now().Add(3 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		job := r.job(id)
		if len(keys) < 2 {
			keys = issuedKeys(t, r, store, hash)
		}
		if len(keys) == 2 {
			looks[job.Stage]++
			found = append(found, searchProcesses(keys)...)
			found = append(found, searchRedis(t, r.env["REDIS_URL"], keys)...)
			found = append(found, searchFolder(r.scratch, keys)...)
		}
		if job.State == "succeeded" {
			break
		}
		if job.State == "failed" || time.Now().After(deadline) {
			t.Fatalf("job: %+v", job)
		}
	}
	if len(keys) != 2 || looks["encode"] < 5 {
		t.Fatalf("%d keys, looks by stage: %v", len(keys), looks)
	}
	// A viewer and a wrong token add their lines to the log.
	r.play(r.job(id))
	r.do("GET", "/api/key/"+hash, "", "Authorization: Bearer "+r.token(strings.Repeat("0", 64), time.Minute))
	found = append(found, search("log", []byte(server.out.String()), keys)...)
	for _, f := range found {
		t.Error("a content key stands in " + f)
	}

	// The search finds what it looks for, in each place.
	planted := hex.EncodeToString(keys[0])
	shell := exec.Command("sh", "-c", "sleep 60; : "+planted)
	if err := shell.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = shell.Process.Kill(); _ = shell.Wait() }()
	if err := os.WriteFile(filepath.Join(r.scratch, "planted"), keys[1], 0o600); err != nil {
		t.Fatal(err)
	}
	opt, err := redis.ParseURL(r.env["REDIS_URL"])
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(opt)
	defer func() { _ = client.Close() }()
	if err := client.HSet(t.Context(), "planted", "msg", strings.Repeat("x", 300)+planted).Err(); err != nil {
		t.Fatal(err)
	}
	if len(searchProcesses(keys)) == 0 || len(searchFolder(r.scratch, keys)) == 0 ||
		len(searchRedis(t, r.env["REDIS_URL"], keys)) == 0 || len(search("log", []byte(`{"key":"`+planted+`"}`), keys)) == 0 {
		t.Error("the search does not find a planted key")
	}
}

// issuedKeys opens the content keys of an asset as soon as their rows exist.
func issuedKeys(t *testing.T, r *rig, store *keystore.Postgres, hash string) [][]byte {
	t.Helper()
	rows, err := r.db.Query(t.Context(), `SELECT kid FROM content_keys WHERE hash = $1`, hash)
	if err != nil {
		t.Fatal(err)
	}
	var kids [][]byte
	for rows.Next() {
		var kid []byte
		if err := rows.Scan(&kid); err != nil {
			t.Fatal(err)
		}
		kids = append(kids, kid)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	var keys [][]byte
	for _, kid := range kids {
		key, err := store.Get(t.Context(), hash, cenc.KID(kid))
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, key.Content.Bytes())
	}
	return keys
}
