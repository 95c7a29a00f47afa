package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/sealcast/sealcast/internal/player/browsertest"
)

// What the steps of the player page wait for and do.
const (
	watchReady = `sealcast.error ? (() => { throw new Error(sealcast.error.text) })() : sealcast.ready && sealcast.readyState >= 2`
	watchPlay  = `document.querySelector('video').muted = document.querySelector('video').loop = true, document.querySelector('video').play(), 0`
	watchPause = `document.querySelector('video').pause(), document.querySelector('video').currentTime = 5.02, 0`
	watchText  = `[...document.querySelector('video').textTracks].filter((t) => t.mode === 'showing').flatMap((t) => [...t.activeCues ?? []]).map((c) => c.text).join()`
	watchFault = `[sealcast.error.code, document.getElementById('message').innerText]`
)

// menus chooses renditions and captions on the page that is open, as a person
// does, and looks at the storyboard. The qualities are the values of the menu's
// lowest and highest entry.
func menus(name, lowest, highest string) []browsertest.Step {
	height := func(h int) string {
		return fmt.Sprintf(`document.querySelector('video').videoHeight === %d && sealcast.currentTime > 0.5`, h)
	}
	return []browsertest.Step{
		{Name: name + " plays", Value: watchPlay},
		{Name: name + " lowest", Select: [2]string{"#quality", lowest}, Until: height(240), Value: `sealcast.levels.map((l) => l.height)`},
		{Name: name + " again", Value: `document.querySelector('video').currentTime = 0.2, ` + watchPlay},
		{Name: name + " highest", Select: [2]string{"#quality", highest}, Until: height(360)},
		{Name: name + " goes on", Until: `sealcast.currentTime > 1.5`},
		{Name: name + " waits", Value: watchPause},
		{Name: name + " by default", Until: watchText + ` === 'last words'`, Value: `document.getElementById('captions').value`, Shot: true},
		{Name: name + " captions off", Select: [2]string{"#captions", "-1"}, Until: watchText + ` === ''`},
		{Name: name + " captions", Select: [2]string{"#captions", "1"}, Until: watchText + ` === 'letzte Worte'`},
		{
			Name: name + " preview", Hover: "#seek", At: 0.8, Until: `!document.getElementById('preview').hidden`, Shot: true,
			Value: `[document.getElementById('preview-picture').style.backgroundImage.slice(0, 9), document.getElementById('preview-time').textContent, document.getElementById('preview-picture').offsetWidth]`,
		},
	}
}

// watch walks through the player page. WATCH_SHOTS keeps the pictures.
func (r *rig) watch(t *testing.T, hash, tok, gone string) {
	r.t = t
	page := r.env["BASE_URL"] + "/watch/film-one"
	short := r.token(hash, 13*time.Second)
	steps := []browsertest.Step{
		// The token runs out while it plays; the page that renews is asked in time.
		{Name: "renew", Fresh: true, Init: `window.sealcastRenew = async () => ` + quoteJS(tok), Goto: page + "#token=" + short, Until: watchReady},
		{Name: "renewing", Value: watchPlay},
		{Name: "renewed", Until: `sealcast.renewals > 0 && (sealcast.currentTime > 4 || document.querySelector('video').ended)`},
		{Name: "open", Fresh: true, Goto: page + "#token=" + tok, Until: watchReady, Value: `sealcast.engine`},
		{Name: "ready", Shot: true, Value: `[document.querySelector('video').poster.slice(0, 5), document.getElementById('validity').textContent]`},
	}
	steps = append(steps, menus("hls.js", "0", "1")...)
	steps = append(steps, browsertest.Step{
		Name: "shaka", Fresh: true, Goto: r.env["BASE_URL"] + "/embed/film-one?output=cmaf#token=" + tok, Until: watchReady, Value: `sealcast.engine`,
	})
	steps = append(steps, menus("Shaka Player", "240", "360")...)
	w := browsertest.Walk(t, os.Getenv("WATCH_SHOTS"), 4*time.Minute, append(steps, []browsertest.Step{
		// One that has run out is renewed before anything is shown.
		{Name: "late", Fresh: true, Init: `window.sealcastRenew = async () => ` + quoteJS(tok), Goto: page + "#token=" + gone, Until: watchReady, Value: `sealcast.renewals`},
		{Name: "expired", Fresh: true, Goto: page + "#token=" + gone, Until: `Boolean(sealcast.error)`, Value: watchFault, Shot: true},
		{Name: "none", Fresh: true, Goto: page, Until: `Boolean(sealcast.error)`, Value: watchFault},
		{Name: "another's", Fresh: true, Goto: page + "#token=" + r.token(strings.Repeat("0", 64), 10*time.Minute), Until: `Boolean(sealcast.error)`, Value: watchFault},
		{Name: "public", Fresh: true, Goto: r.env["BASE_URL"] + "/watch/film-open", Until: watchReady, Value: `document.getElementById('validity').textContent`},
	}...))
	for step, want := range map[string]string{
		"open": "hls.js", "shaka": "Shaka Player", "ready": `"blob:","token valid for `, "late": "1",
		"expired": `"token_expired","The token has expired: ask for a new link.`, "none": `"token_required","This title is private: open it with a link that has a token.`, "another's": `"token_mismatch","The token is for another title.`, // what a person reads
		"hls.js lowest": "[360,240]", "Shaka Player lowest": "[360,240]", "hls.js by default": `"0"`, "Shaka Player by default": `"0"`,
		"hls.js preview": `url(\"blob`, "Shaka Player preview": `"0:04"`,
	} {
		if !strings.Contains(string(w.Values[step]), want) {
			t.Errorf("%s: %s, want %s", step, w.Values[step], want)
		}
	}
	if string(w.Values["public"]) != `""` {
		t.Errorf("a public playback key has a token: %s", w.Values["public"])
	}
	refused := []string{"late", "expired", "none", "another's"}
	for _, q := range w.Requests {
		address, _, _ := strings.Cut(q.URL, "#") // what a browser sends
		if strings.Contains(address, tok) || strings.Contains(q.Referer, tok) {
			t.Errorf("the token stands in an address or a Referer: %s, %s", q.URL, q.Referer)
		}
		if q.Authorized && !strings.HasPrefix(q.URL, r.env["BASE_URL"]+"/v1/p/film-") {
			t.Errorf("the token went to %s", q.URL)
		}
	}
	for _, step := range refused {
		delete(w.Console, step) // the browser tells of refusals
	}
	for step, lines := range w.Console {
		t.Errorf("%s: console %q", step, lines)
	}
}

// native plays with the browser's own player, which has the token in the
// address. The token ends; asked again, the page goes on with the one that it
// got meanwhile.
func (r *rig) native(t *testing.T, hash, tok string) {
	r.t = t
	page, brief := r.env["BASE_URL"]+"/watch/film-one?player=native#token=", r.token(hash, 9*time.Second)
	video := `document.querySelector('video')`
	has := func(tok string) string { return video + `.currentSrc.includes(` + quoteJS(tok) + `)` }
	w := browsertest.Walk(t, os.Getenv("WATCH_SHOTS"), 2*time.Minute, []browsertest.Step{
		{Name: "open", Fresh: true, Init: `window.sealcastRenew = async () => ` + quoteJS(tok), Goto: page + brief, Until: watchReady, Value: `sealcast.engine`},
		{Name: "plays", Value: watchPlay},
		{Name: "goes on", Until: `sealcast.renewals > 0 && sealcast.currentTime > 1`, Value: has(brief)},
		{Name: "ends", Until: `fetch(` + quoteJS(r.env["BASE_URL"]+"/v1/p/film-one/t/"+brief+"/ts/master.m3u8") + `).then((r) => r.status === 401)`},
		{Name: "again", Value: has(brief) + ` && (` + video + `.load(), ` + video + `.play().catch(() => {}), 0)`},
		{Name: "renewed", Until: `sealcast.error || ` + has(tok) + ` && sealcast.currentTime > 1.5`, Value: `sealcast.error`, Shot: true},
		{Name: "another's", Fresh: true, Goto: page + r.token(strings.Repeat("0", 64), 10*time.Minute), Until: `Boolean(sealcast.error)`, Value: watchFault},
	})
	for step, want := range map[string]string{"open": `"native"`, "goes on": "true", "renewed": "null", "another's": "token_mismatch"} {
		if !strings.Contains(string(w.Values[step]), want) {
			t.Errorf("%s: %s, want %s", step, w.Values[step], want)
		}
	}
}

// dashboard plays with the cookie of a session, on the player page and on a page
// of another origin of the same site that sends no header at all.
func (r *rig) dashboard(t *testing.T, tok string) {
	r.t = t
	base := r.env["BASE_URL"]
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, `<!doctype html><title>dashboard</title><link rel="icon" href="data:,"><video muted></video><script src="%[1]s/player/hls.min.js"></script><script>
			const video = document.querySelector('video');
			const hls = new Hls({ xhrSetup(xhr) { xhr.withCredentials = true; } });
			hls.on(Hls.Events.ERROR, (_, e) => { if (e.fatal) window.refused = e.response?.code; });
			hls.loadSource('%[1]s/v1/p/film-one/master.m3u8'); hls.attachMedia(video);
		</script>`, base)
	}))
	defer other.Close()
	session := fmt.Sprintf(`fetch(%s, { method: 'POST', credentials: 'include', headers: { Authorization: %s } }).then((r) => r.status)`,
		quoteJS(base+"/v1/p/film-one/session"), quoteJS("Bearer "+tok))
	plays := `(document.querySelector('video').play().catch(() => {}), document.querySelector('video').currentTime > 1)`
	w := browsertest.Walk(t, os.Getenv("WATCH_SHOTS"), 2*time.Minute, []browsertest.Step{
		{Name: "no cookie", Fresh: true, Goto: other.URL, Until: `window.refused`, Value: `window.refused`},
		{Name: "session", Value: session},
		{Name: "cookie", Goto: other.URL, Until: plays, Value: `document.cookie`},
		{Name: "page, no cookie", Fresh: true, Goto: base + "/watch/film-one", Until: `Boolean(sealcast.error)`, Value: `sealcast.error.code`},
		{Name: "page, session", Value: session},
		{Name: "page, cookie", Goto: base + "/watch/film-one?again", Until: `sealcast.error || sealcast.ready && ` + plays, Value: `sealcast.error`, Shot: true},
	})
	for step, want := range map[string]string{
		"no cookie": "401", "session": "200", "cookie": `""`, "page, no cookie": `"token_required"`, "page, session": "200", "page, cookie": "null",
	} {
		if string(w.Values[step]) != want {
			t.Errorf("%s: %s, want %s", step, w.Values[step], want)
		}
	}
	for _, q := range w.Requests {
		if q.Authorized && !strings.HasSuffix(q.URL, "/session") {
			t.Errorf("%s: a header went to %s", q.Case, q.URL)
		}
		if strings.Contains(q.URL, tok) {
			t.Errorf("%s: the token stands in %s", q.Case, q.URL)
		}
	}
}
