package api

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealcast/sealcast/keystore/audit"
	"github.com/sealcast/sealcast/token"
)

const licencePrefix = "/api/license/clearkey/"

func licenceFor(fills ...byte) string {
	var kids []string
	for _, fill := range fills {
		kid := kidFilled(fill)
		kids = append(kids, base64.RawURLEncoding.EncodeToString(kid[:]))
	}
	return `{"kids":["` + strings.Join(kids, `","`) + `"],"type":"temporary"}`
}

// Who got which key is on record, and who with a verified token did not.
func TestKeyRoutesAreOnRecord(t *testing.T) {
	rig := newRig(t)
	tok := rig.mint(token.Claims{
		Hash: hashA, ExpiresAt: time.Now().Add(time.Minute), JTI: "j1", SID: "s1", UID: "u1", Tag: "t1",
	})
	grant, err := rig.tokens.Verify(tok, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	bearer := "Authorization: Bearer " + tok
	on := func(route, kid, code string) audit.Access {
		return audit.Access{
			Hash: hashA, KID: kid, Code: code, Route: route, Client: "127.0.0.1",
			Token: grant.ID, JTI: "j1", SID: "s1", UID: "u1", Tag: "t1", Subject: hashA,
		}
	}
	expired := rig.mint(token.Claims{Hash: hashA, ExpiresAt: time.Now().Add(-time.Minute)})
	idOf := func(tok string) string {
		refused, _ := (&token.Verifier{Secret: rig.tokens}).Inspect(tok, time.Now(), nil)
		return refused.ID
	}
	other := on(keyPath, "", "token_mismatch")
	other.Hash = hashB
	for _, test := range []struct {
		name, method, path, body, bearer string
		status                           int
		want                             []audit.Access
	}{
		{"the default key", "GET", "/api/key/" + hashA, "", bearer, 200, []audit.Access{on(keyPath, kidFilled(0xa1).String(), "")}},
		{"a key by its id", "GET", "/api/key/" + hashA + "?kid=" + kidFilled(0xa2).String(), "", bearer, 200, []audit.Access{on(keyPath, kidFilled(0xa2).String(), "")}},
		{"a licence for two", "POST", licencePrefix + hashA, licenceFor(0xa1, 0xa2), bearer, 200, []audit.Access{
			on(licencePath, kidFilled(0xa1).String(), ""), on(licencePath, kidFilled(0xa2).String(), ""),
		}},
		{"a licence of which one is not there", "POST", licencePrefix + hashA, licenceFor(0xa1, 0xff), bearer, 404, []audit.Access{on(licencePath, "", "no_key")}},
		{"no such key", "GET", "/api/key/" + hashA + "?kid=x", "", bearer, 404, []audit.Access{on(keyPath, "", "no_key")}},
		{"another title", "GET", "/api/key/" + hashB, "", bearer, 403, []audit.Access{other}},
		{"an expired token", "GET", "/api/key/" + hashA, "", "Authorization: Bearer " + expired, 403, []audit.Access{
			{Hash: hashA, Code: "token_expired", Route: keyPath, Client: "127.0.0.1", Token: idOf(expired), Subject: hashA},
		}},
		{"no token", "GET", "/api/key/" + hashA, "", "X-Nothing: x", 401, nil},
		{"a forged token", "GET", "/api/key/" + hashA, "", bearer + "x", 403, nil},
		{"another route", "GET", "/stream/" + hashA + "/master.m3u8", "", bearer, 200, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			rig.audit.list = nil
			if a := rig.do(test.method, test.path, test.body, test.bearer); a.StatusCode != test.status {
				t.Fatalf("%d %s", a.StatusCode, a.body)
			}
			if diff := cmp.Diff(test.want, rig.audit.list); diff != "" {
				t.Errorf("record (-want +got):\n%s", diff)
			}
		})
	}
}

// What cannot be put on record is not handed out.
func TestNoKeyWithoutRecord(t *testing.T) {
	rig := newRig(t)
	rig.audit.err = fmt.Errorf("%w: full", audit.ErrNotRecorded)
	bearer := "Authorization: Bearer " + rig.token(hashA)
	for _, a := range []answer{
		rig.do("GET", "/api/key/"+hashA, "", bearer),
		rig.do("POST", licencePrefix+hashA, licenceFor(0xa1), bearer),
	} {
		if a.StatusCode != http.StatusServiceUnavailable || a.code() != "unavailable" || a.Header.Get("Retry-After") == "" {
			t.Errorf("%d %s", a.StatusCode, a.body)
		}
	}
	if a := rig.do("GET", "/api/key/"+hashB, "", bearer); a.StatusCode != http.StatusForbidden {
		t.Errorf("a refusal: %d", a.StatusCode)
	}
}

// A token that is refused again and again, for a title of its own each time,
// has entries up to its limit and then one that counts.
func TestRefusalsFillNoTable(t *testing.T) {
	rig := newRig(t, func(cfg *Config) { cfg.KeysPerToken = 5 })
	expired := "Authorization: Bearer " + rig.mint(token.Claims{Hash: hashA, ExpiresAt: time.Now().Add(-time.Minute)})
	for i := range 50 {
		if a := rig.do("GET", fmt.Sprintf("/api/key/%064x", i+1), "", expired); a.StatusCode != http.StatusForbidden {
			t.Fatalf("%d %s", a.StatusCode, a.body)
		}
	}
	kinds := map[audit.Access]int{}
	for _, a := range rig.audit.list {
		kinds[a]++
	}
	if len(rig.audit.list) != 50 || len(kinds) > 7 {
		t.Errorf("%d refusals on record in %d entries", len(rig.audit.list), len(kinds))
	}
}
