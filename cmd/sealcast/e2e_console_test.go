package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sealcast/sealcast/internal/player/browsertest"
)

// console makes a playback key and a token in the console, as a person does,
// and plays what came of it. WATCH_SHOTS keeps the pictures.
func (r *rig) console(t *testing.T, hash string) {
	r.t = t
	page := r.env["BASE_URL"] + "/console"
	shown := func(section string) string {
		return fmt.Sprintf(`document.querySelector('#%s') && !document.querySelector('#%s').hidden && document.querySelector('#%s tbody').rows.length > 0`, section, section, section)
	}
	w := browsertest.Walk(t, os.Getenv("WATCH_SHOTS"), 4*time.Minute, []browsertest.Step{
		{Name: "wrong", Fresh: true, Goto: page, Fill: [2]string{"#enter input", "wrong"}},
		{Name: "refused", Click: "#enter button", Until: `!document.querySelector('#error').hidden`, Value: `document.querySelector('#error').textContent`},
		{Name: "enter", Fill: [2]string{"#enter input", r.env["API_KEY"]}},
		{Name: "jobs", Click: "#enter button", Until: shown("jobs"), Value: `document.querySelector('#jobs tbody').innerText`, Shot: true},
		{Name: "assets", Click: `nav [data-tab="assets"]`, Until: shown("assets"), Value: `document.querySelector('#assets tbody').innerText`, Shot: true},
		{Name: "open", Click: "#assets input[type=checkbox]", Until: `!document.querySelector('#assets input').disabled && !document.querySelector('#assets input').checked`},
		{Name: "close", Click: "#assets input[type=checkbox]", Until: `!document.querySelector('#assets input').disabled && document.querySelector('#assets input').checked`},
		{Name: "to keys", Click: "#assets tbody button", Until: `!document.querySelector('#keys').hidden`},
		{Name: "label", Fill: [2]string{"#new-key input[name=label]", "<b>made by hand</b>"}},
		{Name: "keys", Click: "#new-key button", Until: `document.querySelector('#keys tbody').innerText.includes('<b>made by hand</b>')`, Shot: true},
		{Name: "to tokens", Click: "#keys tbody tr button", Until: `!document.querySelector('#tokens').hidden`},
		{Name: "tag", Fill: [2]string{"#new-token input[name=tag]", "console"}},
		{Name: "ip", Fill: [2]string{"#new-token input[name=ip]", "127.0.0.0/8, ::1/128"}},
		{Name: "ttl", Select: [2]string{"#new-token select[name=ttl]", "3600"}},
		{
			Name: "tokens", Click: "#new-token button", Until: `!document.querySelector('#minted').hidden && document.querySelector('#tokens tbody').rows.length > 0`, Shot: true,
			Value: `[...document.querySelectorAll('#minted dt')].find((e) => e.textContent === 'player').nextSibling.textContent`,
		},
		{Name: "token", Value: `JSON.parse(atob(document.querySelector('#minted dd').textContent.split('.').at(-2).replaceAll('-', '+').replaceAll('_', '/')))`},
		{Name: "leave", Click: "#leave", Until: `!document.querySelector('#enter').hidden`, Value: `document.querySelectorAll('#minted dd').length + sessionStorage.length`},
	})
	if !strings.Contains(string(w.Values["refused"]), "not valid") || !strings.Contains(string(w.Values["jobs"]), "succeeded") ||
		!strings.Contains(string(w.Values["assets"]), hash[:12]) || string(w.Values["leave"]) != `0` {
		t.Errorf("%s", w.Values)
	}
	if n := r.count(`SELECT count(*) FROM asset_policies WHERE private`); n != 1 {
		t.Errorf("%d private titles", n)
	}
	for step, lines := range w.Console {
		if step != "refused" { // the browser tells of the 401
			t.Errorf("%s: console %q", step, lines)
		}
	}
	for _, q := range w.Requests {
		if strings.Contains(q.URL, r.env["API_KEY"]) || !strings.HasPrefix(q.URL, r.env["BASE_URL"]+"/") && !strings.HasPrefix(q.URL, "data:") {
			t.Errorf("the console asks for %s", q.URL)
		}
	}
	var claims struct {
		Tag string
		IP  []string
		Exp int64
	}
	if err := json.Unmarshal(w.Values["token"], &claims); err != nil {
		t.Fatal(err)
	}
	if left := time.Until(time.Unix(claims.Exp, 0)); claims.Tag != "console" || !slices.Equal(claims.IP, []string{"127.0.0.0/8", "::1"}) || left < 50*time.Minute || left > time.Hour {
		t.Errorf("the token that was asked for says %s", w.Values["token"])
	}
	var player string
	if err := json.Unmarshal(w.Values["tokens"], &player); err != nil {
		t.Fatal(err)
	}
	browsertest.Walk(t, "", 2*time.Minute, []browsertest.Step{
		{Name: "play", Goto: player, Until: `sealcast.ready && sealcast.readyState >= 2`},
	})
}

// embedded plays the player page inside a page of another origin, which gives
// it a new token when it asks.
func (r *rig) embedded(t *testing.T, gone, tok string) {
	r.t = t
	around := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, `<!doctype html><title>around</title><iframe id="f" src="%s/embed/film-one#token=%s" width="640" height="400" allow="autoplay"></iframe><script>
			window.heard = []; addEventListener('message', (e) => {
				if (e.source !== document.getElementById('f').contentWindow) return;
				heard.push(e.data.type);
				if (e.data.type === 'sealcast:token-needed') e.source.postMessage({ type: 'sealcast:token', token: %s }, e.origin);
			});</script>`, r.env["BASE_URL"], gone, quoteJS(tok))
	}))
	defer around.Close()
	w := browsertest.Walk(t, os.Getenv("WATCH_SHOTS"), 2*time.Minute, []browsertest.Step{
		{Name: "embedded", Goto: around.URL, Until: `heard.includes('sealcast:ready')`, Value: `heard`, Shot: true},
	})
	if !strings.HasPrefix(string(w.Values["embedded"]), `["sealcast:token-needed"`) {
		t.Errorf("the page around heard %s", w.Values["embedded"])
	}
	// Its policy names the pages that may be around it: this one is not among them.
	if _, err := r.db.Exec(t.Context(), `UPDATE playback_keys SET hosts = '{www.example.com}' WHERE id = 'film-one'`); err != nil {
		t.Fatal(err)
	}
	a := r.do("GET", "/embed/film-one", "")
	if policy := a.header.Get("Content-Security-Policy"); !strings.HasSuffix(policy, "frame-ancestors https://www.example.com:* http://www.example.com:*") {
		t.Errorf("policy %q", policy)
	}
	time.Sleep(2500 * time.Millisecond) // what every node has by then
	if a := r.do("GET", "/v1/p/film-one/playback.json", "", "Authorization: Bearer "+tok, "Origin: "+around.URL); a.status != http.StatusForbidden || a.code() != "referer_denied" {
		t.Errorf("from another page: %d %s", a.status, a.body)
	}
	for _, header := range []string{"Origin: https://www.example.com", "Sealcast-Embedder: https://www.example.com\nSec-Fetch-Site: same-origin"} {
		headers := append([]string{"Authorization: Bearer " + tok}, strings.Split(header, "\n")...)
		if a := r.do("GET", "/v1/p/film-one/playback.json", "", headers...); a.status != http.StatusOK {
			t.Errorf("%s: %d %s", header, a.status, a.body)
		}
	}
}
