package api

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/sealcast/sealcast/token"
)

// TestDeliveredLicence: the Clear Key licence under a playback key is that of
// the title's own route, by each carrier that a key route has, on record, and
// refused like the key.
func TestDeliveredLicence(t *testing.T) {
	rig, gate := newDeliveryRig(t)
	content, err := rig.keys.Served(t.Context(), hashA, nil)
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	body := `{"kids":["` + b64(content.KID[:]) + `"],"type":"temporary"}`
	tok, other := gate.good(t, pkPrivate), gate.good(t, pkOther)
	poster := gate.mint(t, token.Claims{Subject: pkPrivate, Audience: []string{"t"}})
	base := "/v1/p/" + pkPrivate
	for name, ask := range map[string][]string{
		"header": {base + "/license", "Authorization: Bearer " + tok},
		"path":   {base + "/t/" + tok + "/license"},
		"cookie": {base + "/license", "Cookie: " + cookieName + "=" + tok},
		"public": {"/v1/p/" + pkPublic + "/license"},
	} {
		a := rig.do("POST", ask[0], body, append(ask[1:], asJSON)...)
		var got licence
		if err := json.Unmarshal(a.body, &got); a.StatusCode != http.StatusOK || err != nil || len(got.Keys) != 1 ||
			got.Keys[0].K != b64(content.Content.Bytes()) || got.Keys[0].KID != b64(content.KID[:]) || got.Type != "temporary" {
			t.Errorf("%s: %d %s", name, a.StatusCode, a.body)
		}
		checkSecretHeaders(t, a)
	}
	if n := len(rig.audit.list); n != 4 {
		t.Errorf("%d entries on record, want 4", n)
	}
	for name, tt := range map[string]struct {
		path   string
		status int
		code   string
		header string
	}{
		"nothing":          {base + "/license", 401, "token_required", "Accept: */*"},
		"in the query":     {base + "/license?token=" + tok, 401, "token_required", "Accept: */*"},
		"two carriers":     {base + "/t/" + tok + "/license", 400, "ambiguous_credentials", "Authorization: Bearer " + tok},
		"another's":        {base + "/license", 403, "token_mismatch", "Authorization: Bearer " + other},
		"for posters":      {base + "/license", 403, "insufficient_scope", "Authorization: Bearer " + poster},
		"forged":           {base + "/t/" + tok + "A/license", 401, "invalid_token", "Accept: */*"},
		"no such key":      {"/v1/p/pk_none/license", 401, "token_required", "Accept: */*"},
		"not a key's form": {"/v1/p/v/license", 404, "not_found", "Accept: */*"},
	} {
		a := rig.do("POST", tt.path, body, tt.header, asJSON)
		if a.StatusCode != tt.status || a.code() != tt.code || strings.Contains(string(a.body), b64(content.Content.Bytes())) {
			t.Errorf("%s: %d %s, want %d %s", name, a.StatusCode, a.body, tt.status, tt.code)
		}
	}
	if a := rig.do("POST", base+"/license", `{"kids":["AAAAAAAAAAAAAAAAAAAAAQ"]}`, "Authorization: Bearer "+tok, asJSON); a.StatusCode != 404 || a.code() != "no_key" {
		t.Errorf("a key that is not the title's: %d %s", a.StatusCode, a.body)
	}
}

// fakeOriginals has the source of one title.
type fakeOriginals struct {
	hash, data string
	err        error
	asked      int
}

func (f *fakeOriginals) Original(_ context.Context, hash string) (Original, error) {
	if f.asked++; f.err != nil {
		return Original{}, f.err
	}
	if hash != f.hash {
		return Original{}, ErrNotFound
	}
	return Original{Size: int64(len(f.data)), Open: func(_ context.Context, off, n int64) (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(f.data[off : off+n])), nil
	}}, nil
}

// TestOriginalDownload: the source as it was uploaded, to those who may download,
// whole and in ranges.
func TestOriginalDownload(t *testing.T) {
	source := &fakeOriginals{hash: hashA, data: segment}
	rig, gate := newDeliveryRig(t, func(cfg *Config) { cfg.Originals = source })
	of := func(pk string, scopes ...string) string {
		return "Authorization: Bearer " + gate.mint(t, token.Claims{Subject: pk, Audience: scopes})
	}
	for name, tt := range map[string]struct {
		pk, header string
		status     int
		code       string
	}{
		"for downloads":                         {pkLoads, of(pkLoads, "d"), 200, ""},
		"for all, the key allows it":            {pkLoads, of(pkLoads, "v"), 200, ""},
		"for all, the key does not":             {pkPrivate, of(pkPrivate, "v"), 403, "insufficient_scope"},
		"for pictures":                          {pkLoads, of(pkLoads, "t"), 403, "insufficient_scope"},
		"for keys":                              {pkLoads, of(pkLoads, "k"), 403, "insufficient_scope"},
		"another's":                             {pkLoads, of(pkOther, "d"), 403, "token_mismatch"},
		"nothing":                               {pkLoads, "Accept: */*", 401, "token_required"},
		"nothing, public key without downloads": {pkPublic, "Accept: */*", 403, "insufficient_scope"},
	} {
		a := rig.do("GET", "/v1/p/"+tt.pk+"/original", "", tt.header)
		if a.StatusCode != tt.status || a.code() != tt.code || (string(a.body) == segment) != (tt.status == 200) {
			t.Errorf("%s: %d %q, want %d %q", name, a.StatusCode, a.code(), tt.status, tt.code)
		}
	}
	a := rig.do("GET", "/v1/p/"+pkLoads+"/original", "", of(pkLoads, "d"), "Range: bytes=2-5")
	if a.StatusCode != http.StatusPartialContent || string(a.body) != segment[2:6] || a.Header.Get("Content-Disposition") != "attachment" {
		t.Errorf("a range: %d %q", a.StatusCode, a.body)
	}
	if source.asked != 3 {
		t.Errorf("the source was looked up %d times, want for the three that may have it", source.asked)
	}
	for want, err := range map[int]error{404: ErrNotFound, 503: ErrObjectStore} {
		source.err = err
		if a := rig.do("GET", "/v1/p/"+pkLoads+"/original", "", of(pkLoads, "d")); a.StatusCode != want {
			t.Errorf("%v: %d %s", err, a.StatusCode, a.body)
		}
	}
	if a := rig.do("GET", "/stream/"+hashA+"/original", ""); a.StatusCode == http.StatusOK || string(a.body) == segment {
		t.Errorf("under the hash, without a token: %d", a.StatusCode)
	}
}
