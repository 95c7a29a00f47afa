package api

import (
	"encoding/base64"
	"net/http"
	"testing"
	"time"

	"github.com/sealcast/sealcast/token"
)

// TestPrivateTitleKeys: no key of a private title is to be had by its hash, at
// any route, on a node that nobody tells, 2 s after it was closed; by a token
// for one of its playback keys it is.
func TestPrivateTitleKeys(t *testing.T) {
	t.Parallel()
	a, b := twoNodes(t)
	b.jobs.put(Job{ID: "job-1", Hash: hashA, Type: "video:transcode", State: "succeeded"})
	a.admin("POST", "/api/playback-keys", map[string]any{"hash": hashA, "id": "film-1"}, 201)
	signer := a.newSigner(map[string]any{"kid": "app", "allow_wildcard": true})
	content, err := b.keys.Served(t.Context(), hashA, nil)
	if err != nil {
		t.Fatal(err)
	}
	kid := content.KID
	licence := `{"kids":["` + base64.RawURLEncoding.EncodeToString(kid[:]) + `"]}`
	// ask tries every route to a key of the title; the last four are under the playback key.
	ask := func(tok string) []answer {
		bearer := "Authorization: Bearer " + tok
		return []answer{
			b.do("GET", "/api/key/"+hashA, "", bearer),
			b.do("GET", "/api/key/"+hashA+"?kid="+kid.String(), "", bearer),
			b.do("POST", "/api/license/clearkey/"+hashA, licence, bearer, asJSON),
			b.do("GET", "/video/key/job-1", "", "Cookie: "+cookieName+"="+tok),
			b.do("GET", "/v1/video/playback/key/"+tok+"/job-1", ""),
			b.do("GET", "/v1/p/film-1/key", "", bearer),
			b.do("GET", "/v1/p/film-1/t/"+tok+"/key", ""),
			b.do("POST", "/v1/p/film-1/license", licence, bearer, asJSON),
			b.do("POST", "/v1/p/film-1/t/"+tok+"/license", licence, asJSON),
		}
	}
	byHash := map[string]string{
		"H for the title": a.token(hashA),
		"J for the title": mintJ(t, signer, token.Claims{Subject: hashA}),
		"wildcard":        mintJ(t, signer, token.Claims{Subject: "*"}),
	}
	byKey := mintJ(t, signer, token.Claims{Subject: "film-1"})
	// await is for how long a change may take on a node, and no longer.
	await := func(closed bool) {
		t.Helper()
		deadline := time.Now().Add(2 * time.Second)
		for name, tok := range byHash {
			for ok := false; !ok; {
				late := time.Now().After(deadline)
				ok = true
				for i, got := range ask(tok) {
					want := http.StatusOK
					if closed && i < 5 {
						want = http.StatusForbidden
					}
					if got.StatusCode != want || (want == http.StatusForbidden && got.code() != token.CodeMismatch) {
						if ok = false; late {
							t.Errorf("closed %v, %s, route %d: %d %s, want %d", closed, name, i, got.StatusCode, got.body, want)
						}
					}
				}
				if ok || late {
					break
				}
				time.Sleep(20 * time.Millisecond) // an asker without a pause meets the limit of key requests
			}
		}
		for i, got := range ask(byKey) {
			if got.StatusCode != http.StatusOK {
				t.Errorf("closed %v, a token for the playback key, route %d: %d %s", closed, i, got.StatusCode, got.body)
			}
		}
	}
	set := func(private bool) {
		t.Helper()
		_, err := a.pool.Exec(t.Context(), `INSERT INTO asset_policies (hash, private) VALUES ($1, $2) ON CONFLICT (hash) DO UPDATE SET private = $2`, hashA, private)
		if err != nil {
			t.Fatal(err)
		}
	}
	await(false)
	set(true)
	await(true)
	inspected := a.admin("POST", "/api/tokens/inspect", map[string]any{"token": byHash["H for the title"], "for": hashA}, 200)
	if inspected["code"] != token.CodeMismatch {
		t.Errorf("inspection: %v", inspected)
	}
	set(false)
	await(false)
}
