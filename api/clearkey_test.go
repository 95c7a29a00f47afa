package api

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/sealcast/sealcast/keystore"
)

const licenceOf = "/api/license/clearkey/"

func kidText(fill byte) string {
	kid := kidFilled(fill)
	return base64.RawURLEncoding.EncodeToString(kid[:])
}

// kidsBody is a browser's licence request for the keys filled with fills.
func kidsBody(fills ...byte) string {
	kids := []string{}
	for _, f := range fills {
		kids = append(kids, kidText(f))
	}
	body, _ := json.Marshal(map[string]any{"kids": kids, "type": "temporary"})
	return string(body)
}

// TestLicence: the answer is what the Clear Key key system takes.
func TestLicence(t *testing.T) {
	rig := newRig(t)
	auth := "Authorization: Bearer " + rig.token(hashA)
	for name, body := range map[string]string{
		"both":           kidsBody(0xa1, 0xa2),
		"one twice":      kidsBody(0xa1, 0xa2, 0xa1),
		"without a type": `{"kids":["` + kidText(0xa1) + `","` + kidText(0xa2) + `"]}`,
		"more members":   `{"later":{},"type":"temporary","kids":["` + kidText(0xa1) + `","` + kidText(0xa2) + `"]}`,
	} {
		// Shaka Player and hls.js send other content types than JSON.
		a := rig.do("POST", licenceOf+hashA, body, auth, "Origin: "+testOrigin, "Content-Type: application/octet-stream")
		var got licence
		if err := json.Unmarshal(a.body, &got); err != nil || a.StatusCode != http.StatusOK || a.Header.Get("Content-Type") != "application/json" {
			t.Fatalf("%s: %d %s: %v", name, a.StatusCode, a.body, err)
		}
		if len(got.Keys) != 2 || got.Type != "temporary" {
			t.Fatalf("%s: %s", name, a.body)
		}
		for i, fill := range []byte{0xa1, 0xa2} {
			want := base64.RawURLEncoding.EncodeToString(bytes.Repeat([]byte{fill ^ 0xff}, 16))
			if k := got.Keys[i]; k.Kty != "oct" || k.K != want || k.KID != kidText(fill) {
				t.Errorf("%s: key %d is %+v, want %s", name, i, k, want)
			}
		}
		if got := a.Header.Get("Access-Control-Allow-Origin"); got != testOrigin {
			t.Errorf("allows origin %q", got)
		}
		checkSecretHeaders(t, a)
	}
}

// TestLicenceAnswers: refusals are those of the key route, and of the message.
func TestLicenceAnswers(t *testing.T) {
	rig := newRig(t)
	good := "Authorization: Bearer " + rig.token(hashA)
	down := fmt.Errorf("key of %s: %w: dial tcp 10.1.2.3:5432", hashA, keystore.ErrUnavailable)
	fine := kidsBody(0xa1)
	for _, tt := range []struct {
		name, path, body string
		headers          []string
		err              error
		status           int
		code             string
	}{
		{"no credential", hashA, fine, nil, nil, 401, "token_required"},
		{"API key", hashA, fine, []string{"X-API-Key: " + testAPIKey}, nil, 401, "token_required"},
		{"token in the query", hashA + "?token=x", fine, nil, nil, 401, "token_required"},
		{"header and query", hashA + "?token=x", fine, []string{good}, nil, 400, "ambiguous_credentials"},
		{"garbage", hashA, fine, []string{"Authorization: Bearer garbage"}, nil, 403, "invalid_token"},
		{"another title", hashB, kidsBody(0xb1), []string{good}, nil, 403, "token_mismatch"},
		{"without a token the body is not looked at", hashA, "{", nil, nil, 401, "token_required"},
		{"a key of another title", hashA, kidsBody(0xb1), []string{good}, nil, 404, "no_key"},
		{"one key of another title", hashA, kidsBody(0xa1, 0xb1), []string{good}, nil, 404, "no_key"},
		{"a key that nobody has", hashA, kidsBody(1), []string{good}, nil, 404, "no_key"},
		{"no title", hashC, fine, []string{"Authorization: Bearer " + rig.token(hashC)}, nil, 404, "no_key"},
		{"empty", hashA, "", []string{good}, nil, 400, "invalid_json"},
		{"an array", hashA, "[]", []string{good}, nil, 400, "invalid_json"},
		{"two objects", hashA, fine + fine, []string{good}, nil, 400, "invalid_json"},
		{"kids twice", hashA, `{"kids":[],"kids":["` + kidText(0xa1) + `"]}`, []string{good}, nil, 400, "invalid_request"},
		{"no kids", hashA, `{"type":"temporary"}`, []string{good}, nil, 400, "invalid_request"},
		{"kids empty", hashA, kidsBody(), []string{good}, nil, 400, "invalid_request"},
		{"kids null", hashA, `{"kids":null}`, []string{good}, nil, 400, "invalid_request"},
		{"kids too many", hashA, kidsBody(bytes.Repeat([]byte{0xa1}, 17)...), []string{good}, nil, 400, "invalid_request"},
		{"kid padded", hashA, `{"kids":["` + kidText(0xa1) + `=="]}`, []string{good}, nil, 400, "invalid_request"},
		{"kid in hex", hashA, `{"kids":["` + kidFilled(0xa1).String() + `"]}`, []string{good}, nil, 400, "invalid_request"},
		{"kid with stray bits", hashA, `{"kids":["` + kidText(0xa1)[:21] + `R"]}`, []string{good}, nil, 400, "invalid_request"},
		{"persistent", hashA, `{"kids":["` + kidText(0xa1) + `"],"type":"persistent-license"}`, []string{good}, nil, 400, "invalid_request"},
		{"too large", hashA, strings.Repeat(" ", 4<<10) + fine, []string{good}, nil, 413, "body_too_large"},
		{"does not open", hashA, fine, []string{good}, fmt.Errorf("unwrap: %w", keystore.ErrIntegrity), 500, "key_integrity"},
		{"Postgres away", hashA, fine, []string{good}, down, 503, "unavailable"},
		{"unknown error", hashA, fine, []string{good}, errors.New("SELECT broke on db-7.internal"), 503, "unavailable"},
		{"deadline", hashA, fine, []string{good}, context.DeadlineExceeded, 503, "unavailable"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rig.t = t
			rig.keys.fail(tt.err)
			a := rig.do("POST", licenceOf+tt.path, tt.body, append(tt.headers, "Origin: "+testOrigin)...)
			if a.StatusCode != tt.status || a.code() != tt.code {
				t.Fatalf("status %d %s, want %d %s", a.StatusCode, a.body, tt.status, tt.code)
			}
			checkSecretHeaders(t, a)
			if strings.Contains(string(a.body), ".internal") || strings.Contains(string(a.body), "10.1.2.3") {
				t.Errorf("the answer names our machines: %s", a.body)
			}
		})
	}
}

// TestLicenceSharesTheKeyLimit: two routes are not two budgets.
func TestLicenceSharesTheKeyLimit(t *testing.T) {
	rig := newRig(t, func(cfg *Config) { cfg.KeysPerToken = 2 })
	auth := "Authorization: Bearer " + rig.token(hashA)
	rig.do("GET", "/api/key/"+hashA, "", auth)
	rig.do("POST", licenceOf+hashA, kidsBody(0xa1), auth)
	a := rig.do("POST", licenceOf+hashA, kidsBody(0xa1), auth)
	if a.StatusCode != http.StatusTooManyRequests || a.code() != "rate_limited" {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	checkSecretHeaders(t, a)
}

func TestLicencePreflightAndMethods(t *testing.T) {
	rig := newRig(t)
	a := rig.do("OPTIONS", licenceOf+hashA, "", "Origin: "+testOrigin, "Access-Control-Request-Method: POST",
		"Access-Control-Request-Headers: authorization,content-type")
	for name, want := range map[string]string{
		"Access-Control-Allow-Origin": testOrigin, "Access-Control-Allow-Methods": "POST",
		"Access-Control-Allow-Headers": "Authorization, Content-Type, Range", "Cache-Control": "no-store",
	} {
		if got := a.Header.Get(name); a.StatusCode != http.StatusNoContent || got != want {
			t.Errorf("%d, %s %q, want %q", a.StatusCode, name, got, want)
		}
	}
	a = rig.do("GET", licenceOf+hashA, "", "Authorization: Bearer "+rig.token(hashA))
	if a.StatusCode != http.StatusMethodNotAllowed || a.Header.Get("Allow") != "POST, OPTIONS" {
		t.Errorf("GET: %d, Allow %q", a.StatusCode, a.Header.Get("Allow"))
	}
	checkSecretHeaders(t, a)
}

// Property: a licence request is refused as a 400, or gives 1 to 16 different
// key ids, which say the same when they are asked for again.
func FuzzParseLicenceRequest(f *testing.F) {
	for _, s := range []string{kidsBody(0xa1), kidsBody(1, 2, 1), `{"kids":[]}`, `{"kids":["` + kidText(1) + `"],"type":null}`, `{"kids":[null]}`, `[]`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		kids, err := parseLicenceRequest(body)
		if err != nil {
			var p *Problem
			if !errors.As(err, &p) || p.Status != 400 || len(p.Detail) > 400 {
				t.Fatalf("refused with %#v", err)
			}
			return
		}
		var texts []string
		for _, kid := range kids {
			texts = append(texts, base64.RawURLEncoding.EncodeToString(kid[:]))
		}
		whole, _ := json.Marshal(map[string]any{"kids": texts})
		again, err := parseLicenceRequest(whole)
		if err != nil || len(kids) < 1 || len(kids) > maxLicenceKeys || fmt.Sprint(again) != fmt.Sprint(kids) {
			t.Fatalf("%v, again %v, %v", kids, again, err)
		}
	})
}
