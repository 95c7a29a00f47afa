package api

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/sealcast/sealcast/token"
)

func raw64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// hs256 signs any header and payload with a secret.
func hs256(secret []byte, header, payload string) string {
	signed := raw64(header) + "." + raw64(payload)
	m := hmac.New(sha256.New, secret)
	m.Write([]byte(signed))
	return signed + "." + base64.RawURLEncoding.EncodeToString(m.Sum(nil))
}

// asDER is the other way to write an ES256 signature (RFC 7518, 3.4, wants r and s
// side by side).
func asDER(t *testing.T, sig string) string {
	t.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(sig)
	if err != nil || len(raw) != 64 {
		t.Fatal(len(raw), err)
	}
	der, err := asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(raw[:32]), new(big.Int).SetBytes(raw[32:])})
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(der)
}

// otherTail is base64url of the same 64 bytes to a decoder that does not look at
// the bits behind them.
func otherTail(sig string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := len(sig) - 1
	return sig[:last] + string(alphabet[strings.IndexByte(alphabet, sig[last])|1])
}

// TestAttacks sends what forgers try, from outside, to the key route of a real
// gate. Each is refused with the code that says least, never with a key, and
// no answer may be kept.
func TestAttacks(t *testing.T) {
	t.Parallel()
	g := newGateRig(t, accessDatabase(t), func(cfg *Config) {
		cfg.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	})
	g.admin("POST", "/api/playback-keys", map[string]any{"hash": hashA, "id": "film-a"}, 201)
	g.admin("POST", "/api/playback-keys", map[string]any{"hash": hashB, "id": "film-b"}, 201)
	g.admin("POST", "/api/playback-keys", map[string]any{"hash": hashA, "id": "film-dev", "environment": "development"}, 201)
	s := g.newSigner(map[string]any{"kid": "app", "algorithm": "ES256"})
	public := g.admin("GET", "/api/signing-keys/app", nil, 200)["public_key"].(string)
	der, _ := pem.Decode([]byte(public))
	g.newSigner(map[string]any{"kid": "rsa", "algorithm": "RS256"})
	rsa := g.admin("GET", "/api/signing-keys/rsa", nil, 200)["public_key"].(string)
	ofProduction := g.newSigner(map[string]any{"kid": "prod", "environment": "production"})
	symmetric := g.admin("POST", "/api/signing-keys", map[string]any{"kid": "sym", "algorithm": "HS256"}, 201)
	secret, err := base64.StdEncoding.DecodeString(symmetric["secret_base64"].(string))
	if err != nil {
		t.Fatal(err)
	}
	soon := time.Now().Add(5 * time.Minute).Unix()
	payload := func(more string) string { return fmt.Sprintf(`{"sub":"film-a","aud":"v","exp":%d%s}`, soon, more) }
	good := mintJ(t, s, token.Claims{Subject: "film-a"})
	signed, sig := good[:strings.LastIndexByte(good, '.')], good[strings.LastIndexByte(good, '.')+1:]
	sym := func(header, payload string) string { return hs256(secret, header, payload) }
	const symHeader = `{"alg":"HS256","kid":"sym"}`
	exp := func(value string) string { return sym(symHeader, `{"sub":"film-a","aud":"v","exp":`+value+`}`) }
	shared := func(payload string) string {
		m := hmac.New(sha256.New, []byte(testSecret))
		m.Write([]byte(raw64(payload)))
		return raw64(payload) + "." + base64.RawURLEncoding.EncodeToString(m.Sum(nil))
	}

	g.wantKey("the good one", good, hashA, 200, "")
	g.wantKey("the good symmetric one", sym(symHeader, payload("")), hashA, 200, "")

	invalid := map[string]string{
		"alg none":                       raw64(`{"alg":"none","kid":"app"}`) + "." + raw64(payload("")) + ".",
		"alg None, a signature":          raw64(`{"alg":"None","kid":"app"}`) + "." + raw64(payload("")) + "." + sig,
		"HS256 with the public key, PEM": hs256([]byte(public), `{"alg":"HS256","kid":"app"}`, payload("")),
		"HS256 with the public key, DER": hs256(der.Bytes, `{"alg":"HS256","kid":"app"}`, payload("")),
		"another algorithm under a kid":  hs256(secret, `{"alg":"ES256","kid":"sym"}`, payload("")),
		"symmetric kid, public alg":      sym(`{"alg":"RS256","kid":"sym"}`, payload("")),
		"ES256, r and s zero":            signed + "." + base64.RawURLEncoding.EncodeToString(make([]byte, 64)),
		"ES256, the good one as DER":     signed + "." + asDER(t, sig),
		"trailing bits":                  signed + "." + otherTail(sig),
		"HS256 with an RSA public key":   hs256([]byte(rsa), `{"alg":"HS256","kid":"rsa"}`, payload("")),
		"ES256, empty":                   signed + ".",
		"kid ../":                        sym(`{"alg":"HS256","kid":"../../dev/null"}`, payload("")),
		"kid SQL":                        sym(`{"alg":"HS256","kid":"sym' OR '1'='1"}`, payload("")),
		"kid URL":                        sym(`{"alg":"HS256","kid":"https://evil.io/k"}`, payload("")),
		"kid NUL":                        sym(`{"alg":"HS256","kid":"sym\u0000"}`, payload("")),
		"kid empty":                      hs256(nil, `{"alg":"HS256","kid":""}`, payload("")),
		"our own kid, another secret":    hs256(secret, `{"alg":"HS256","kid":"sealcast"}`, payload("")),
		"our own kid, the shared secret": hs256([]byte(testSecret), `{"alg":"HS256","kid":"sealcast"}`, payload("")),
		"the shared kid":                 hs256([]byte(testSecret), `{"alg":"HS256","kid":"shared"}`, payload("")),
		"jwk":                            sym(`{"alg":"HS256","kid":"sym","jwk":{"kty":"oct","k":"AA"}}`, payload("")),
		"jku":                            sym(`{"alg":"HS256","kid":"sym","jku":"https://evil.io"}`, payload("")),
		"x5u":                            sym(`{"alg":"HS256","kid":"sym","x5u":"https://evil.io"}`, payload("")),
		"x5c":                            sym(`{"alg":"HS256","kid":"sym","x5c":["AA"]}`, payload("")),
		"zip":                            sym(`{"alg":"HS256","kid":"sym","zip":"DEF"}`, payload("")),
		"cty":                            sym(`{"alg":"HS256","kid":"sym","cty":"JWT"}`, payload("")),
		"enc":                            sym(`{"alg":"HS256","kid":"sym","enc":"A256GCM"}`, payload("")),
		"crit":                           sym(`{"alg":"HS256","kid":"sym","crit":["exp"]}`, payload("")),
		"b64 false":                      sym(`{"alg":"HS256","kid":"sym","b64":false}`, payload("")),
		"JWE":                            "eyJhbGciOiJkaXIiLCJlbmMiOiJBMjU2R0NNIn0..AA.AA.AA",
		"two parts":                      signed,
		"form H in three parts":          shared(fmt.Sprintf(`{"hash":%q,"exp":%d}`, hashA, soon)) + "." + sig,
		"padding":                        good + "=",
		"duplicate sub":                  sym(symHeader, payload(`,"sub":"film-a"`)),
		"case-variant sub":               sym(symHeader, payload(`,"SUB":"film-b"`)),
		"deep nesting":                   sym(symHeader, payload(`,"x":`+strings.Repeat("[", 500)+strings.Repeat("]", 500))),
		"invalid UTF-8":                  sym(symHeader, payload(",\"uid\":\"\xff\"")),
		"exp as text":                    exp(`"1900000000"`), "exp as float": exp("1900000000.5"), "exp negative": exp("-1"), "exp 1e18": exp("1e18"), "exp null": exp("null"),
		"no exp":                      sym(symHeader, `{"sub":"film-a","aud":"v"}`),
		"thousands of dots":           strings.Repeat(".", 4000),
		"unknown critical claim":      sym(symHeader, payload(`,"crit_claims":["geo"]`)),
		"wildcard as H":               shared(fmt.Sprintf(`{"hash":"*","exp":%d}`, soon)),
		"session of another":          "st_" + strings.Repeat("A", 200),
		"API key":                     testAPIKey,
		"the secret of a signing key": symmetric["secret_base64"].(string),
	}
	for name, tok := range invalid {
		g.wantKey(name, tok, hashA, 403, "invalid_token")
	}
	g.wantKey("10 kB", strings.Repeat("k", 10_000), hashA, 403, "token_too_large")
	g.wantKey("wildcard of a key that may not", sym(symHeader, fmt.Sprintf(`{"sub":"*","aud":"v","exp":%d}`, soon)), hashA, 403, "scope_not_allowed")
	g.wantKey("orgawide of a key that may not", sym(symHeader, fmt.Sprintf(`{"orgawide":true,"aud":"v","exp":%d}`, soon)), hashA, 403, "scope_not_allowed")
	g.wantKey("A's at B", good, hashB, 403, "token_mismatch")
	g.wantKey("A's at nothing", good, strings.Repeat("0", 64), 403, "token_mismatch")
	g.wantKey("of another environment", mintJ(t, s, token.Claims{Subject: "film-a", Env: "development"}), hashA, 403, "scope_not_allowed")
	g.wantKey("for a playback key of another environment", mintJ(t, ofProduction, token.Claims{Subject: "film-dev"}), hashA, 403, "scope_not_allowed")
	g.wantKey("the same key's at home", mintJ(t, ofProduction, token.Claims{Subject: "film-a"}), hashA, 200, "")
	// In a path a token can be spelt in ways that a header has no room for.
	if a := g.do("GET", "/v1/p/film-a/t/"+good+"/key", ""); a.StatusCode != 200 {
		t.Errorf("in the path: %d %s", a.StatusCode, a.body)
	}
	for _, spelt := range []string{good + "%0A", good[:20] + "%0A" + good[20:], good[:20] + "%0D%0A" + good[20:], good + "%3D", "%20" + good, good[:len(good)-10]} {
		if a := g.do("GET", "/v1/p/film-a/t/"+spelt+"/key", ""); a.StatusCode != 401 || a.code() != "invalid_token" {
			t.Errorf("%q in the path: %d %s", spelt, a.StatusCode, a.body)
		}
	}
	g.wantKey("61 s early", sym(symHeader, payload(fmt.Sprintf(`,"nbf":%d`, time.Now().Unix()+65))), hashA, 403, "token_not_yet_valid")
	g.wantKey("issued 55 s ahead", sym(symHeader, payload(fmt.Sprintf(`,"iat":%d`, time.Now().Unix()+55))), hashA, 200, "")

	only := mintJ(t, s, token.Claims{Subject: "film-a", IP: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32")}})
	g.wantKey("behind the proxy", only, hashA, 200, "", "X-Forwarded-For: 192.0.2.1")
	g.wantKey("mapped into IPv6", only, hashA, 200, "", "X-Forwarded-For: ::ffff:192.0.2.1")
	g.wantKey("spoofed before the proxy", only, hashA, 403, "ip_denied", "X-Forwarded-For: 192.0.2.1, 198.51.100.7")
	g.wantKey("without the proxy's word", only, hashA, 403, "ip_denied")
	pages := mintJ(t, s, token.Claims{Subject: "film-a", Ref: []string{"good.com", "*.good.com"}})
	for origin, status := range map[string]int{
		"https://good.com": 200, "https://a.b.good.com": 200, "https://good.com.evil.io": 403, "https://good.com@evil.io": 403, "null": 403, "https://evilgood.com": 403,
	} {
		a := g.key(pages, hashA, "Origin: "+origin)
		if a.StatusCode != status {
			t.Errorf("from %s: %d", origin, a.StatusCode)
		}
	}
	if a := g.do("GET", "/api/key/"+hashA, "", "Authorization: Bearer "+pages, "Origin: https://good.com", "Origin: https://evil.io"); a.StatusCode != 403 {
		t.Errorf("two origins: %d", a.StatusCode)
	}

	// The path is compared as it came.
	for _, path := range []string{"film-a", hashA + ";x", hashA + "%252e", "%2e%2e/" + hashA, hashA + "%2f..%2f" + hashB, strings.ToUpper(hashA), "*", "v"} {
		a := g.do("GET", "/api/key/"+path, "", "Authorization: Bearer "+good)
		if a.StatusCode == 200 && path != "film-a" || a.StatusCode >= 300 && a.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("/api/key/%s: %d", path, a.StatusCode)
		}
	}
	// Nothing of it stands in the log, and no answer of the key route may be kept.
	for _, secret := range []string{good, sig, symmetric["secret_base64"].(string), url.QueryEscape(good)} {
		if strings.Contains(g.log.String(), secret) {
			t.Errorf("%.20s… stands in the log", secret)
		}
	}
	for _, tok := range []string{good, "forged"} {
		if a := g.key(tok, hashA); a.Header.Get("Cache-Control") != "no-store" || a.Header.Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("%d may be kept or told: %v", a.StatusCode, a.Header)
		}
	}
}

// TestRespellingIsNoOther: the limit counts whom a token speaks for. Two
// spellings of one ES256 signature, and two tokens of one user, are one.
func TestRespellingIsNoOther(t *testing.T) {
	t.Parallel()
	g := newGateRig(t, accessDatabase(t), func(cfg *Config) { cfg.KeysPerToken = 2 })
	g.admin("POST", "/api/playback-keys", map[string]any{"hash": hashA, "id": "film-a"}, 201)
	s := g.newSigner(map[string]any{"kid": "app"})
	limited := func(what string, tokens ...string) {
		t.Helper()
		for i, tok := range tokens {
			want := 200
			if i >= 2 {
				want = 429
			}
			if a := g.key(tok, hashA); a.StatusCode != want {
				t.Errorf("%s: request %d: %d", what, i+1, a.StatusCode)
			}
		}
	}
	// ECDSA is random: minting the same again gives another signature.
	claims := token.Claims{Subject: "film-a", ExpiresAt: time.Now().Add(time.Minute)}
	a, b, c := mintJ(t, s, claims), mintJ(t, s, claims), mintJ(t, s, claims)
	if a == b {
		t.Fatal("one spelling")
	}
	limited("spellings", a, b, c)
	user := func(jti string) string { return mintJ(t, s, token.Claims{Subject: "film-a", UID: "u", JTI: jti}) }
	limited("tokens of a user", user("1"), user("2"), user("3"))
	limited("another user", mintJ(t, s, token.Claims{Subject: "film-a", UID: "u2"}))
}
