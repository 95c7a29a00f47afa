package api

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sealcast/sealcast/keystore"
	"github.com/sealcast/sealcast/token"
)

// TestKeyAnswers is the table of answers for the key route.
func TestKeyAnswers(t *testing.T) {
	rig := newRig(t)
	good := rig.token(hashA)
	now := time.Now()
	expired := rig.mint(token.Claims{Hash: hashA, ExpiresAt: now.Add(-time.Second)})
	early := rig.mint(token.Claims{Hash: hashA, ExpiresAt: now.Add(time.Hour), NotBefore: now.Add(2 * time.Minute)})
	long := rig.mint(token.Claims{Hash: hashA, ExpiresAt: now.Add(25 * time.Hour)})
	bearer := func(tok string) string { return "Authorization: Bearer " + tok }
	down := fmt.Errorf("key of %s: %w: dial tcp 10.1.2.3:5432", hashA, keystore.ErrUnavailable)

	tests := []struct {
		name    string
		path    string // behind /api/key/
		headers []string
		err     error // of the key store
		status  int
		code    string
	}{
		{"good", hashA, []string{bearer(good)}, nil, 200, ""},
		{"scheme in another case", hashA, []string{"Authorization: bEARER " + good}, nil, 200, ""},
		{"two spaces", hashA, []string{"Authorization: Bearer  " + good}, nil, 200, ""},
		{"API key beside it", hashA, []string{bearer(good), "X-API-Key: wrong"}, nil, 200, ""},
		{"range is ignored", hashA, []string{bearer(good), "Range: bytes=0-3"}, nil, 200, ""},
		{"conditions are ignored", hashA, []string{bearer(good), "If-None-Match: *", "If-Match: \"x\""}, nil, 200, ""},

		{"no credential", hashA, nil, nil, 401, "token_required"},
		{"empty Authorization", hashA, []string{"Authorization: "}, nil, 401, "token_required"},
		{"Bearer alone", hashA, []string{"Authorization: Bearer"}, nil, 401, "token_required"},
		{"Basic", hashA, []string{"Authorization: Basic dTpw"}, nil, 401, "token_required"},
		{"token without a scheme", hashA, []string{"Authorization: " + good}, nil, 401, "token_required"},
		{"only an API key", hashA, []string{"X-API-Key: " + testAPIKey}, nil, 401, "token_required"},
		{"token in the query", hashA + "?token=" + good, nil, nil, 401, "token_required"},
		{"jwt in the query", hashA + "?jwt=" + good, nil, nil, 401, "token_required"},
		{"token in a cookie", hashA, []string{"Cookie: __Secure-pb=" + good}, nil, 401, "token_required"},

		{"header and query", hashA + "?token=" + good, []string{bearer(good)}, nil, 400, "ambiguous_credentials"},
		{"header and empty query", hashA + "?jwt", []string{bearer(good)}, nil, 400, "ambiguous_credentials"},
		{"two headers", hashA, []string{bearer(good), bearer(good)}, nil, 400, "ambiguous_credentials"},
		{"two headers, good one last", hashA, []string{bearer(expired), bearer(good)}, nil, 400, "ambiguous_credentials"},
		{"two schemes", hashA, []string{"Authorization: Basic dTpw", bearer(good)}, nil, 400, "ambiguous_credentials"},

		{"too large", hashA, []string{bearer(strings.Repeat("a", 4097))}, nil, 403, "token_too_large"},
		{"too large, twice", hashA, []string{bearer(strings.Repeat("a", 4097)), bearer("a")}, nil, 403, "token_too_large"},
		{"as large as allowed", hashA, []string{bearer(strings.Repeat("a", 4096))}, nil, 403, "invalid_token"},
		{"garbage", hashA, []string{bearer("garbage")}, nil, 403, "invalid_token"},
		{"API key as token", hashA, []string{bearer(testAPIKey)}, nil, 403, "invalid_token"},
		{"bad signature", hashA, []string{bearer(good[:len(good)-2] + "AA")}, nil, 403, "invalid_token"},
		{"padding", hashA, []string{bearer(good + "=")}, nil, 403, "invalid_token"},
		{"two tokens in one header", hashA, []string{bearer(good + ", Bearer " + good)}, nil, 403, "invalid_token"},
		{"alg none", hashA, []string{bearer("eyJhbGciOiJub25lIn0." + payloadOf(good) + ".")}, nil, 403, "invalid_token"},
		{"thousands of dots", hashA, []string{bearer(strings.Repeat(".", 4000))}, nil, 403, "invalid_token"},
		{"expired", hashA, []string{bearer(expired)}, nil, 403, "token_expired"},
		{"early", hashA, []string{bearer(early)}, nil, 403, "token_not_yet_valid"},
		{"lives too long", hashA, []string{bearer(long)}, nil, 403, "token_ttl_exceeded"},

		{"another title", hashB, []string{bearer(good)}, nil, 403, "token_mismatch"},
		{"a title that does not exist", strings.Repeat("0", 64), []string{bearer(good)}, nil, 403, "token_mismatch"},
		{"upper case", strings.ToUpper(hashA), []string{bearer(good)}, nil, 403, "token_mismatch"},
		{"longer", hashA + "0", []string{bearer(good)}, nil, 403, "token_mismatch"},
		{"shorter", hashA[:63], []string{bearer(good)}, nil, 403, "token_mismatch"},
		{"wildcard", "*", []string{bearer(good)}, nil, 403, "token_mismatch"},
		{"parameter", hashA + ";x=1", []string{bearer(good)}, nil, 403, "token_mismatch"},
		{"double encoding", hashA + "%252f", []string{bearer(good)}, nil, 403, "token_mismatch"},
		{"id of a bad token is not looked at", "not-a-hash", []string{bearer("garbage")}, nil, 403, "invalid_token"},
		{"id without a token is not looked at", "not-a-hash", nil, nil, 401, "token_required"},

		{"key by KID", hashA + "?kid=" + kidFilled(0xa2).String(), []string{bearer(good)}, nil, 200, ""},
		{"no key row", hashC, []string{bearer(rig.token(hashC))}, nil, 404, "no_key"},
		{"KID of another title", hashA + "?kid=" + kidFilled(0xb1).String(), []string{bearer(good)}, nil, 404, "no_key"},
		{"KID that nobody has", hashA + "?kid=" + kidFilled(1).String(), []string{bearer(good)}, nil, 404, "no_key"},
		{"KID in upper case", hashA + "?kid=" + strings.ToUpper(kidFilled(0xa2).String()), []string{bearer(good)}, nil, 404, "no_key"},
		{"KID empty", hashA + "?kid=", []string{bearer(good)}, nil, 404, "no_key"},
		{"KID twice", hashA + "?kid=" + kidFilled(0xa1).String() + "&kid=" + kidFilled(0xa2).String(), []string{bearer(good)}, nil, 404, "no_key"},
		{"query that does not parse", hashA + "?kid=%zz", []string{bearer(good)}, nil, 404, "no_key"},

		{"does not open", hashA, []string{bearer(good)}, fmt.Errorf("unwrap: %w", keystore.ErrIntegrity), 500, "key_integrity"},
		{"Postgres away", hashA, []string{bearer(good)}, down, 503, "unavailable"},
		{"KEK version missing", hashA, []string{bearer(good)}, keystore.ErrKEKMissing, 503, "unavailable"},
		{"unknown error", hashA, []string{bearer(good)}, errors.New("SELECT broke on db-7.internal"), 503, "unavailable"},
		{"deadline", hashA, []string{bearer(good)}, context.DeadlineExceeded, 503, "unavailable"},
	}
	for _, tt := range tests {
		for _, method := range []string{"GET", "HEAD"} {
			t.Run(tt.name+"/"+method, func(t *testing.T) {
				rig.t = t
				rig.keys.fail(tt.err)
				before := rig.keys.called()
				a := rig.do(method, "/api/key/"+tt.path, "", append(tt.headers, "Origin: "+testOrigin)...)
				if a.StatusCode != tt.status {
					t.Fatalf("status %d %s, want %d %s", a.StatusCode, a.body, tt.status, tt.code)
				}
				if method == "GET" && a.code() != tt.code {
					t.Errorf("code %q, want %q", a.code(), tt.code)
				}
				checkKeyHeaders(t, a)
				if a.StatusCode < 404 && a.StatusCode != http.StatusOK && rig.keys.called() != before {
					t.Error("a refused request reached the key store")
				}
				if method == "HEAD" && len(a.body) != 0 {
					t.Errorf("HEAD has a body of %d bytes", len(a.body))
				}
				if strings.Contains(string(a.body), ".internal") || strings.Contains(string(a.body), "10.1.2.3") {
					t.Errorf("the answer names our machines: %s", a.body)
				}
			})
		}
	}
}

// checkKeyHeaders holds what every answer of the key route has.
func checkKeyHeaders(t *testing.T, a answer) {
	t.Helper()
	checkSecretHeaders(t, a)
	if a.StatusCode == http.StatusOK && (a.Header.Get("Content-Type") != "application/octet-stream" || a.ContentLength != 16) {
		t.Errorf("type %q, length %d", a.Header.Get("Content-Type"), a.ContentLength)
	}
}

// checkSecretHeaders holds what every answer has that may carry a key.
func checkSecretHeaders(t *testing.T, a answer) {
	t.Helper()
	for name, want := range map[string]string{
		"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
		"Cross-Origin-Resource-Policy": "cross-origin", "ETag": "", "Accept-Ranges": "", "Content-Range": "", "Last-Modified": "",
		"Access-Control-Allow-Credentials": "",
	} {
		if got := strings.Join(a.Header.Values(name), "|"); got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
	if !slices.Contains(a.Header.Values("Vary"), "Origin") {
		t.Errorf("Vary = %q", a.Header.Values("Vary"))
	}
	if (a.StatusCode == http.StatusUnauthorized) != (a.Header.Get("WWW-Authenticate") == "Bearer") {
		t.Errorf("status %d with WWW-Authenticate %q", a.StatusCode, a.Header.Get("WWW-Authenticate"))
	}
	if retry := a.StatusCode == http.StatusTooManyRequests || a.StatusCode == http.StatusServiceUnavailable; retry != (a.Header.Get("Retry-After") != "") {
		t.Errorf("status %d with Retry-After %q", a.StatusCode, a.Header.Get("Retry-After"))
	}
}

func TestKeyBytes(t *testing.T) {
	rig := newRig(t)
	auth := "Authorization: Bearer " + rig.token(hashA)
	for path, fill := range map[string]byte{
		hashA: 0xa1, hashA + "?kid=" + kidFilled(0xa1).String(): 0xa1, hashA + "?kid=" + kidFilled(0xa2).String(): 0xa2,
		hashA + "?other=1": 0xa1,
	} {
		a := rig.do("GET", "/api/key/"+path, "", auth)
		if want := bytes.Repeat([]byte{fill ^ 0xff}, 16); !bytes.Equal(a.body, want) {
			t.Errorf("%s: %x, want %x", path, a.body, want)
		}
	}
}

func TestKeyOtherMethods(t *testing.T) {
	rig := newRig(t)
	for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND"} {
		a := rig.do(method, "/api/key/"+hashA, "", "Authorization: Bearer "+rig.token(hashA))
		if a.StatusCode != http.StatusMethodNotAllowed || a.Header.Get("Allow") != "GET, HEAD, OPTIONS" || a.code() != "method_not_allowed" {
			t.Errorf("%s: %d, Allow %q", method, a.StatusCode, a.Header.Get("Allow"))
		}
		checkKeyHeaders(t, a)
	}
}

// TestKeyPathTricks: no spelling of a path is redirected, decoded into another
// route or answered in a way that a cache keeps.
func TestKeyPathTricks(t *testing.T) {
	rig := newRig(t)
	auth := "Authorization: Bearer " + rig.token(hashA)
	for _, path := range []string{
		"/api/key/" + hashB + "%2f..%2f" + hashA, "/api/key/" + hashA + "%2F", "/api/key/%2e%2e", "/api/key/" + hashA + "/..",
		"/api/key/x/../" + hashA, "/api/key/./" + hashA, "//api/key/" + hashA, "/api//key/" + hashA, "/api/key//" + hashA,
		"/api/key/" + hashA + "/", "/api/key/" + hashA + "/x", "/api/key/", "/api/key", "/api/key/" + hashA + "%5c", "/api/key/%00",
		"/API/key/" + hashA, "/api/key/%2E%2E/jobs",
	} {
		a := rig.do("GET", path, "", auth)
		if a.StatusCode != http.StatusNotFound || a.code() != "not_found" || a.Header.Get("Cache-Control") != "no-store" || a.Header.Get("Location") != "" {
			t.Errorf("%s: %d %s, %v", path, a.StatusCode, a.body, a.Header)
		}
	}
	if n := rig.keys.called(); n != 0 {
		t.Errorf("%d requests reached the key store", n)
	}
}

// TestKeyNotServedFromAnotherTitle: a store that gives the wrong row is caught.
func TestKeyNotServedFromAnotherTitle(t *testing.T) {
	rig := newRig(t)
	k := rig.keys.byKID[kidFilled(0xa1)]
	swapped := rig.keys.byKID[kidFilled(0xb1)]
	for name, wrong := range map[string]keystore.Key{
		"another title": swapped,
		"zero key":      {KID: k.KID, Hash: hashA, Default: true},
	} {
		t.Run(name, func(t *testing.T) {
			rig := newRig(t, func(cfg *Config) { cfg.Keys = oneKey(wrong) })
			a := rig.do("GET", "/api/key/"+hashA, "", "Authorization: Bearer "+rig.token(hashA))
			if a.StatusCode != http.StatusInternalServerError || a.code() != "key_integrity" {
				t.Errorf("%d %s", a.StatusCode, a.body)
			}
		})
	}
}

// TestLogHasNoSecrets sends secrets through every door and looks for them.
func TestLogHasNoSecrets(t *testing.T) {
	rig := newRig(t)
	tok := rig.token(hashA)
	auth := "Authorization: Bearer " + tok
	var answers strings.Builder
	for _, path := range []string{
		"/api/key/" + hashA, "/api/key/" + hashA + "?token=" + tok, "/api/key/" + tok, "/" + tok, "/api/jobs/" + tok,
		"/stream/" + hashA + "/poster.jpg?token=" + tok, "/stream/" + hashA + "/" + tok,
	} {
		for _, headers := range [][]string{
			{auth}, {auth, auth}, {"X-API-Key: " + testAPIKey}, {"X-API-Key: wrong" + tok}, {"Referer: https://x/?token=" + tok}, {"X-Request-Id: " + testAPIKey},
		} {
			a := rig.do("GET", path, "", headers...)
			if a.StatusCode != http.StatusOK {
				answers.Write(a.body)
			}
			fmt.Fprint(&answers, a.Header)
		}
	}
	rig.server.Close()
	if !strings.Contains(rig.log.String(), `"msg":"http request"`) || !strings.Contains(rig.log.String(), hashA) {
		t.Fatalf("no access log:\n%s", rig.log.String())
	}
	key := bytes.Repeat([]byte{0xa1 ^ 0xff}, 16)
	first, mac, _ := strings.Cut(tok, ".")
	for name, printed := range map[string]string{"log": rig.log.String(), "answers": answers.String()} {
		for what, secret := range map[string]string{
			"token": first, "signature": mac, "API key": testAPIKey, "token secret": testSecret,
			"key": string(key), "key in hex": hex.EncodeToString(key), "key in base64": base64.StdEncoding.EncodeToString(key)[:20],
		} {
			if strings.Contains(printed, secret) {
				t.Errorf("the %s stands in the %s", what, name)
			}
		}
	}
}

func TestKeyWithoutAnyDependencyCall(t *testing.T) {
	// video.js repeats a refused key request for ever: it must stay cheap.
	rig := newRig(t)
	for range 50 {
		if a := rig.do("GET", "/api/key/"+hashB, "", "Authorization: Bearer "+rig.token(hashA)); a.StatusCode != http.StatusForbidden {
			t.Fatal(a.StatusCode)
		}
	}
	if n := rig.keys.called(); n != 0 {
		t.Errorf("%d calls", n)
	}
}

func payloadOf(tok string) string {
	first, _, _ := strings.Cut(tok, ".")
	return first
}
