package api

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sealcast/sealcast/token"
)

func TestPlaybackKeysAndTokens(t *testing.T) {
	t.Parallel()
	g := newGateRig(t, accessDatabase(t))
	made := g.admin("POST", "/api/playback-keys", map[string]any{"hash": hashA, "id": "film-1", "label": "Film", "hosts": []string{"WWW.example.com"}, "allow_no_referer": true}, 201)
	if made["private"] != true || made["status"] != "active" || made["environment"] != "production" || made["hosts"].([]any)[0] != "www.example.com" {
		t.Errorf("made %v", made)
	}
	second := g.admin("POST", "/api/playback-keys", map[string]any{"hash": hashA}, 201)["id"].(string)
	g.admin("POST", "/api/playback-keys", map[string]any{"hash": hashA, "id": "film-1"}, 409)
	g.admin("POST", "/api/playback-keys", map[string]any{"hash": strings.Repeat("0", 64)}, 404)
	for _, bad := range []map[string]any{
		{},
		{"hash": "x"},
		{"hash": hashA, "id": "v"},
		{"hash": hashA, "id": "ab"},
		{"hash": hashA, "id": "*"},
		{"hash": hashA, "id": hashB},
		{"hash": hashA, "ips": []string{"10.0.0.0/33"}},
		{"hash": hashA, "hosts": []string{"https://x"}},
		{"hash": hashA, "max_ttl": 0},
		{"hash": hashA, "not_before": "tomorrow"},
		{"hash": hashA, "Private": false},
		{"hash": hashA, "private": "no"},
		{"hash": hashA, "status": "active"},
	} {
		g.admin("POST", "/api/playback-keys", bad, 400)
	}

	minted := g.admin("POST", "/api/playback-keys/film-1/tokens", map[string]any{"tag": "promo", "ip": []string{"127.0.0.1"}}, 201)
	tok := minted["token"].(string)
	urls := minted["urls"].(map[string]any)
	for name, want := range map[string]string{
		"playlist": "https://video.example.com/v1/p/film-1/t/" + tok + "/master.m3u8", "player": "https://video.example.com/watch/film-1#token=" + tok,
	} {
		if urls[name] != want {
			t.Errorf("%s: %v", name, urls[name])
		}
	}
	if embed := urls["embed"].(string); !strings.Contains(embed, `<iframe src="https://video.example.com/embed/film-1#token=`+tok+`"`) {
		t.Errorf("embed: %s", embed)
	}
	g.wantKey("minted", tok, hashA, 200, "")
	g.wantKey("minted, from a page", tok, hashA, 200, "", "Origin: https://www.example.com")
	g.wantKey("minted, from another page", tok, hashA, 403, "referer_denied", "Origin: https://evil.io")
	g.wantKey("minted, for another title", tok, hashB, 403, "token_mismatch")
	elsewhere := g.admin("POST", "/api/playback-keys/film-1/tokens", map[string]any{"ip": []string{"192.0.2.1"}}, 201)["token"].(string)
	g.wantKey("of another address", elsewhere, hashA, 403, "ip_denied")
	g.wantKey("of another address, spoofed", elsewhere, hashA, 403, "ip_denied", "X-Forwarded-For: 192.0.2.1")
	wide := g.admin("POST", "/api/playback-keys/film-1/tokens", map[string]any{"orgawide": true, "expires_in": 31536000}, 201)["token"].(string)
	g.wantKey("organisation-wide", wide, hashB, 200, "")
	poster := g.admin("POST", "/api/playback-keys/"+second+"/tokens", map[string]any{"scope": []string{"t"}}, 201)["token"].(string)
	g.wantKey("for posters", poster, hashA, 403, "insufficient_scope")
	if a := g.do("GET", "/stream/"+hashA+"/poster.jpg", "", "Authorization: Bearer "+poster); a.StatusCode != 200 {
		t.Errorf("for posters, at the poster: %d %s", a.StatusCode, a.body)
	}
	for _, bad := range []map[string]any{
		{"expires_in": 31536001},
		{"expires_in": 0},
		{"expires_in": 5, "expires_at": "2027-01-01T00:00:00Z"},
		{"expires_at": "2001-01-01T00:00:00Z"},
		{"scope": []string{"x"}},
		{"scope": "v"},
		{"tag": strings.Repeat("x", 65)},
		{"ip": []string{"x"}},
		{"referer": []string{"*"}},
		{"scope": []string{"d"}},
		{"environment": "staging"},
	} {
		g.admin("POST", "/api/playback-keys/film-1/tokens", bad, 400)
	}
	g.admin("POST", "/api/playback-keys/none/tokens", nil, 404)

	list := g.admin("GET", "/api/tokens?limit=1", nil, 200)
	if len(list["tokens"].([]any)) != 1 || list["next_cursor"] == nil {
		t.Errorf("a page of one: %v", list)
	}
	rest := g.admin("GET", "/api/tokens?limit=50&cursor="+list["next_cursor"].(string), nil, 200)
	if len(rest["tokens"].([]any)) != 3 || rest["next_cursor"] != nil {
		t.Errorf("the rest: %v", rest)
	}
	raw := g.do("GET", "/api/tokens", "", withAPIKey)
	if strings.Contains(string(raw.body), tok) || strings.Contains(string(raw.body), strings.Split(tok, ".")[2]) {
		t.Error("the list has a token in it")
	}
	tagged := g.admin("GET", "/api/tokens?tag=promo&playback_key=film-1", nil, 200)["tokens"].([]any)
	if len(tagged) != 1 || tagged[0].(map[string]any)["id"] != minted["id"] {
		t.Errorf("by tag: %v", tagged)
	}

	// Policy changes one at a time, and revoking one leaves its sibling alone.
	g.admin("PATCH", "/api/playback-keys/film-1", map[string]any{"status": "disabled"}, 200)
	g.wantKey("disabled", tok, hashA, 403, "playback_key_inactive")
	again := g.admin("PATCH", "/api/playback-keys/film-1", map[string]any{"status": "active", "max_ttl": 60}, 200)
	if again["label"] != "Film" || again["max_ttl"] != 60.0 || len(again["hosts"].([]any)) != 1 {
		t.Errorf("what was not sent has changed: %v", again)
	}
	g.wantKey("lives longer than the policy allows", tok, hashA, 403, "token_ttl_exceeded")
	g.admin("PATCH", "/api/playback-keys/film-1", map[string]any{"max_ttl": nil}, 200)
	g.wantKey("allowed again", tok, hashA, 200, "")
	for _, bad := range []map[string]any{{"status": "revoked"}, {"hash": hashB}, {"id": "x"}, {"hosts": "x"}, {"environment": "staging"}} {
		g.admin("PATCH", "/api/playback-keys/film-1", bad, 400)
	}
	sibling := g.admin("POST", "/api/playback-keys/"+second+"/tokens", nil, 201)["token"].(string)
	g.admin("DELETE", "/api/playback-keys/film-1", nil, 204)
	g.admin("DELETE", "/api/playback-keys/film-1", nil, 404)
	g.admin("PATCH", "/api/playback-keys/film-1", map[string]any{"label": "x"}, 404)
	g.admin("POST", "/api/playback-keys/film-1/tokens", nil, 404)
	g.wantKey("revoked", tok, hashA, 403, "playback_key_revoked")
	g.wantKey("its sibling", sibling, hashA, 200, "")
	if k := g.admin("GET", "/api/playback-keys/film-1", nil, 200); k["status"] != "revoked" || k["revoked_at"] == nil {
		t.Errorf("%v", k)
	}
	if keys := g.admin("GET", "/api/playback-keys?hash="+hashA, nil, 200)["playback_keys"].([]any); len(keys) != 2 {
		t.Errorf("list: %v", keys)
	}
	if keys := g.admin("GET", "/api/playback-keys?hash="+hashB, nil, 200)["playback_keys"].([]any); len(keys) != 0 {
		t.Errorf("list: %v", keys)
	}
	g.admin("GET", "/api/playback-keys?hash=x", nil, 400)
	g.admin("GET", "/api/playback-keys?what=x", nil, 400)
	g.admin("POST", "/api/playback-keys", map[string]any{"hash": hashA, "id": "film-open", "private": false}, 201)
	if got := g.do("GET", "/v1/p/film-open/key", ""); got.StatusCode != http.StatusOK || len(got.body) != 16 {
		t.Errorf("a public playback key without a token: %d %s", got.StatusCode, got.body)
	}
}

func TestInspectIsTheSameDecision(t *testing.T) {
	t.Parallel()
	g := newGateRig(t, accessDatabase(t))
	g.admin("POST", "/api/playback-keys", map[string]any{"hash": hashA, "id": "film-1", "ips": []string{"127.0.0.1"}}, 201)
	s := g.newSigner(map[string]any{"kid": "app"})
	inspect := func(body map[string]any) map[string]any {
		return g.admin("POST", "/api/tokens/inspect", body, 200)
	}
	good := mintJ(t, s, token.Claims{Subject: "film-1", UID: "u", Tag: "t"})
	forged := good[:len(good)-6] + "AAAAAA"
	for name, tok := range map[string]string{
		"good": good, "forged": forged, "garbage": "x",
		"expired":   mintJ(t, s, token.Claims{Subject: "film-1", ExpiresAt: time.Now().Add(-time.Second)}),
		"another":   mintJ(t, s, token.Claims{Subject: "film-2"}),
		"scope":     mintJ(t, s, token.Claims{Subject: "film-1", Audience: []string{"t"}}),
		"wildcard":  mintJ(t, s, token.Claims{Subject: "*"}),
		"of a page": mintJ(t, s, token.Claims{Subject: "film-1", Ref: []string{"www.example.com"}}),
		"too large": strings.Repeat("a", 4097),
	} {
		seen := inspect(map[string]any{"token": tok, "for": hashA, "scope": "k", "ip": "127.0.0.1"})
		real := g.key(tok, hashA)
		code, _ := seen["code"].(string)
		if (real.StatusCode == 200) != (seen["valid"] == true) || real.code() != code {
			t.Errorf("%s: inspected %v %q, at the key route %d %q", name, seen["valid"], code, real.StatusCode, real.code())
		}
		failed := 0
		for _, c := range seen["checks"].([]any) {
			if c := c.(map[string]any); c["outcome"] == "failed" {
				failed++
				if c["code"] != code {
					t.Errorf("%s: the check %s says %v", name, c["name"], c["code"])
				}
			}
		}
		if (failed == 1) == (seen["valid"] == true) {
			t.Errorf("%s: %d checks failed: %v", name, failed, seen["checks"])
		}
		if says := seen["token"]; (name == "forged" || name == "garbage") && says != nil {
			t.Errorf("%s: a forged token speaks: %v", name, says)
		}
	}
	says := inspect(map[string]any{"token": good, "ip": "127.0.0.1"})
	claims := says["token"].(map[string]any)
	if says["valid"] != true || claims["uid"] != "u" || claims["playback_key"] != "film-1" || claims["hash"] != hashA || claims["kid"] != "app" || claims["form"] != "J" {
		t.Errorf("%v", says)
	}
	if says = inspect(map[string]any{"token": good}); says["valid"] != false || says["code"] != "ip_denied" {
		t.Errorf("without an address: %v", says["code"])
	}
	for _, bad := range []map[string]any{{}, {"token": ""}, {"token": good, "scope": "vk"}, {"token": good, "ip": "x"}, {"token": good, "carrier": "post"}} {
		g.admin("POST", "/api/tokens/inspect", bad, 400)
	}
	if strings.Contains(g.log.String(), good) || strings.Contains(g.log.String(), strings.Split(good, ".")[2]) {
		t.Error("the token stands in the log")
	}
}

func TestSigningKeysOverHTTP(t *testing.T) {
	t.Parallel()
	g := newGateRig(t, accessDatabase(t))
	for _, alg := range []string{"RS256", "ES256", "EdDSA"} {
		made := g.admin("POST", "/api/signing-keys", map[string]any{"algorithm": alg, "issuer": "app", "max_ttl": 60}, 201)
		kid := made["kid"].(string)
		if made["private_key_base64"] == nil || made["secret_base64"] != nil || made["environment"] != "all" || made["allow_wildcard"] != false {
			t.Errorf("%s: %v", alg, made)
		}
		private, err := token.ParsePrivateKey([]byte(made["private_key"].(string)))
		if err != nil {
			t.Fatal(err)
		}
		s, err := token.NewSigner(kid, private)
		if err != nil {
			t.Fatal(err)
		}
		short := token.Claims{Subject: hashA, Issuer: "app", ExpiresAt: time.Now().Add(30 * time.Second)}
		tok := mintJ(t, s, short)
		g.wantKey(alg, tok, hashA, 200, "")
		short.ExpiresAt = time.Now().Add(2 * time.Minute)
		g.wantKey(alg+", too long", mintJ(t, s, short), hashA, 403, "token_ttl_exceeded")
		shown := g.do("GET", "/api/signing-keys/"+kid, "", withAPIKey)
		if shown.StatusCode != 200 || strings.Contains(string(shown.body), "PRIVATE") {
			t.Errorf("%s: %d %s", alg, shown.StatusCode, shown.body)
		}
		g.admin("DELETE", "/api/signing-keys/"+kid, nil, 204)
		g.admin("DELETE", "/api/signing-keys/"+kid, nil, 404)
		g.wantKey(alg+", revoked", tok, hashA, 403, "invalid_token")
	}
	sym := g.admin("POST", "/api/signing-keys", map[string]any{"algorithm": "HS256", "kid": "sym-1"}, 201)
	if sym["secret_base64"] == nil || sym["private_key"] != nil || sym["public_key"] != nil {
		t.Errorf("%v", sym)
	}
	all := g.do("GET", "/api/signing-keys", "", withAPIKey)
	if strings.Contains(string(all.body), sym["secret_base64"].(string)) || strings.Contains(string(all.body), "secret") {
		t.Errorf("%s", all.body)
	}
	g.admin("POST", "/api/signing-keys", map[string]any{"kid": "sym-1"}, 409)
	g.admin("GET", "/api/signing-keys/none", nil, 404)
	for _, bad := range []map[string]any{
		{"algorithm": "none"},
		{"algorithm": "HS384"},
		{"public_key": "x"},
		{"jwks_url": "https://127.0.0.1/"},
		{"environment": "x"},
		{"max_ttl": 31536001},
		{"kid": "sealcast"},
		{"kid": "shared"},
		{"kid": "../x"},
		{"secret": "x"},
	} {
		g.admin("POST", "/api/signing-keys", bad, 400)
	}
}
