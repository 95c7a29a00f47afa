package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"math/big"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// testKeys are private keys, one per algorithm, by kid.
var testKeys = sync.OnceValue(func() map[string]crypto.Signer {
	r, err1 := rsa.GenerateKey(rand.Reader, 2048)
	e, err2 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	_, d, err3 := ed25519.GenerateKey(rand.Reader)
	if err1 != nil || err2 != nil || err3 != nil {
		panic("no keys")
	}
	return map[string]crypto.Signer{"rsa": r, "ec": e, "ed": d}
})

var symmetric = []byte(strings.Repeat("s", 32))

// verifier knows a key of each algorithm, and "wide", which may give wildcards
// and wants an issuer.
func verifier(t testing.TB) *Verifier {
	t.Helper()
	keys := map[string]*Key{}
	add := func(k *Key, err error) {
		if err != nil {
			t.Fatal(err)
		}
		keys[k.ID()] = k
	}
	for kid, private := range testKeys() {
		add(NewPublicKey(kid, private.Public(), Rules{}))
	}
	add(NewSymmetricKey("sym", symmetric, Rules{}))
	add(NewPublicKey("wide", testKeys()["ed"].Public(), Rules{Issuer: "app", MaxTTL: MaxKeyTTL, AllowWildcard: true}))
	sessions, err := NewSealer([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	return &Verifier{Secret: newHMAC(t), Key: func(kid string) *Key { return keys[kid] }, Sessions: sessions}
}

func signer(t testing.TB, kid string) *Signer {
	t.Helper()
	var s *Signer
	var err error
	switch kid {
	case "sym":
		s, err = NewSymmetricSigner(kid, symmetric)
	case "wide":
		s, err = NewSigner(kid, testKeys()["ed"])
	default:
		s, err = NewSigner(kid, testKeys()[kid])
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func jwtPayload(more string) string { return `{"sub":"film-1","aud":"v","exp":1800000000` + more + `}` }

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// signJWT signs any header and payload with a key.
func signJWT(t testing.TB, kid, header, payload string) string {
	t.Helper()
	tok, err := signer(t, kid).sign([]byte(header), []byte(payload))
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func TestJWTRoundTrip(t *testing.T) {
	v := verifier(t)
	claims := Claims{
		Subject: "film-1", Audience: []string{"v", "d"}, Issuer: "app", ExpiresAt: now.Add(time.Hour), NotBefore: now, IssuedAt: now,
		JTI: "j", SID: "s", UID: "u", Tag: "t", Tags: []string{"a", "b"}, Cust: "c", Env: "staging",
		IP: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("2001:db8::/32")}, Ref: []string{"*.example.com"},
	}
	for _, kid := range []string{"rsa", "ec", "ed", "sym", "wide"} {
		tok, err := signer(t, kid).Mint(claims)
		if err != nil {
			t.Fatal(err)
		}
		grant, err := v.Verify(tok, now)
		if err != nil {
			t.Fatalf("%s: %v", kid, err)
		}
		if diff := cmp.Diff(claims, grant.Claims, cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
			t.Errorf("%s: %s", kid, diff)
		}
		if grant.KeyID != kid || grant.Form != FormJ || len(grant.ID) != 32 {
			t.Errorf("%s: %+v", kid, grant)
		}
	}
}

func TestJWTHeaders(t *testing.T) {
	v := verifier(t)
	public, err := x509.MarshalPKIXPublicKey(testKeys()["rsa"].Public())
	if err != nil {
		t.Fatal(err)
	}
	asSecret := func(kid string, secret []byte, header string) string {
		signed := b64(header) + "." + b64(jwtPayload(""))
		m := hmac.New(sha256.New, secret)
		m.Write([]byte(signed))
		return signed + "." + base64.RawURLEncoding.EncodeToString(m.Sum(nil))
	}
	good := func(more string) string { return `{"alg":"EdDSA","typ":"JWT","kid":"ed"` + more + `}` }
	tests := []struct{ name, tok, code string }{
		{"good", signJWT(t, "ed", good(""), jwtPayload("")), ""},
		{"no typ", signJWT(t, "ed", `{"alg":"EdDSA","kid":"ed"}`, jwtPayload("")), ""},
		{"typ in lower case", signJWT(t, "ed", `{"alg":"EdDSA","kid":"ed","typ":"jwt"}`, jwtPayload("")), ""},
		{"typ of an access token", signJWT(t, "ed", `{"alg":"EdDSA","kid":"ed","typ":"at+jwt"}`, jwtPayload("")), CodeInvalid},
		{"kid in the claims", signJWT(t, "ed", `{"alg":"EdDSA"}`, jwtPayload(`,"kid":"ed"`)), ""},
		{"kid in both", signJWT(t, "ed", good(""), jwtPayload(`,"kid":"ed"`)), ""},
		{"kid in both, different", signJWT(t, "ed", good(""), jwtPayload(`,"kid":"rsa"`)), CodeInvalid},
		{"no kid", signJWT(t, "ed", `{"alg":"EdDSA"}`, jwtPayload("")), CodeInvalid},
		{"unknown kid", signJWT(t, "ed", `{"alg":"EdDSA","kid":"other"}`, jwtPayload("")), CodeInvalid},
		{"kid with a path", signJWT(t, "ed", `{"alg":"EdDSA","kid":"../../dev/null"}`, jwtPayload("")), CodeInvalid},
		{"kid as SQL", signJWT(t, "ed", `{"alg":"EdDSA","kid":"' OR 1=1 --"}`, jwtPayload("")), CodeInvalid},
		{"kid as URL", signJWT(t, "ed", `{"alg":"EdDSA","kid":"https://evil.example/jwks"}`, jwtPayload("")), CodeInvalid},
		{"kid with NUL", signJWT(t, "ed", `{"alg":"EdDSA","kid":"ed\u0000"}`, jwtPayload("")), CodeInvalid},
		{"kid of 65", signJWT(t, "ed", `{"alg":"EdDSA","kid":"`+strings.Repeat("k", 65)+`"}`, jwtPayload("")), CodeInvalid},
		{"kid of 10 kB", "eyJhbGciOiJFZERTQSJ9." + b64(strings.Repeat("k", 10_000)) + ".AA", CodeTooLarge},
		{"kid number", signJWT(t, "ed", `{"alg":"EdDSA","kid":1}`, jwtPayload("")), CodeInvalid},
		{"kid empty", signJWT(t, "ed", `{"alg":"EdDSA","kid":""}`, jwtPayload("")), CodeInvalid},

		{"alg none", b64(`{"alg":"none","kid":"ed"}`) + "." + b64(jwtPayload("")) + ".", CodeInvalid},
		{"alg none with a signature", b64(`{"alg":"none","kid":"ed"}`) + "." + b64(jwtPayload("")) + ".AA", CodeInvalid},
		{"alg nOnE", b64(`{"alg":"nOnE","kid":"sym"}`) + "." + b64(jwtPayload("")) + ".AA", CodeInvalid},
		{"alg empty", signJWT(t, "ed", `{"alg":"","kid":"ed"}`, jwtPayload("")), CodeInvalid},
		{"no alg", signJWT(t, "ed", `{"kid":"ed"}`, jwtPayload("")), CodeInvalid},
		{"alg in lower case", signJWT(t, "ed", `{"alg":"eddsa","kid":"ed"}`, jwtPayload("")), CodeInvalid},
		{"alg list", signJWT(t, "ed", `{"alg":["EdDSA"],"kid":"ed"}`, jwtPayload("")), CodeInvalid},
		{"algorithm of another key", signJWT(t, "ed", `{"alg":"EdDSA","kid":"rsa"}`, jwtPayload("")), CodeInvalid},
		{"key of another algorithm", signJWT(t, "rsa", `{"alg":"RS256","kid":"ed"}`, jwtPayload("")), CodeInvalid},
		{"RS384", signJWT(t, "rsa", `{"alg":"RS384","kid":"rsa"}`, jwtPayload("")), CodeInvalid},
		{"PS256", signJWT(t, "rsa", `{"alg":"PS256","kid":"rsa"}`, jwtPayload("")), CodeInvalid},
		{"HS256 with the public key, DER", asSecret("rsa", public, `{"alg":"HS256","kid":"rsa"}`), CodeInvalid},
		{"HS256 with the public key, PEM", asSecret("rsa", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}), `{"alg":"HS256","kid":"rsa"}`), CodeInvalid},
		{"HS256 with the shared secret", asSecret("", []byte(secret), `{"alg":"HS256","kid":"sym"}`), CodeInvalid},
		{"HS256 with no secret", asSecret("", nil, `{"alg":"HS256","kid":"sym"}`), CodeInvalid},

		{"jwk", signJWT(t, "ed", good(`,"jwk":{"kty":"OKP"}`), jwtPayload("")), CodeInvalid},
		{"jku", signJWT(t, "ed", good(`,"jku":"https://evil.example"`), jwtPayload("")), CodeInvalid},
		{"x5u", signJWT(t, "ed", good(`,"x5u":"https://evil.example"`), jwtPayload("")), CodeInvalid},
		{"x5c", signJWT(t, "ed", good(`,"x5c":["AA"]`), jwtPayload("")), CodeInvalid},
		{"crit", signJWT(t, "ed", good(`,"crit":["exp"]`), jwtPayload("")), CodeInvalid},
		{"b64", signJWT(t, "ed", good(`,"b64":false`), jwtPayload("")), CodeInvalid},
		{"zip", signJWT(t, "ed", good(`,"zip":"DEF"`), jwtPayload("")), CodeInvalid},
		{"cty", signJWT(t, "ed", good(`,"cty":"JWT"`), jwtPayload("")), CodeInvalid},
		{"enc", signJWT(t, "ed", good(`,"enc":"A256GCM"`), jwtPayload("")), CodeInvalid},
		{"alg twice", signJWT(t, "ed", good(`,"alg":"EdDSA"`), jwtPayload("")), CodeInvalid},
		{"case variant", signJWT(t, "ed", good(`,"Kid":"ed"`), jwtPayload("")), CodeInvalid},
		{"header is a list", signJWT(t, "ed", `["EdDSA"]`, jwtPayload("")), CodeInvalid},
		{"JWE", "eyJhbGciOiJkaXIifQ.AA.AA.AA.AA", CodeInvalid},
		{"two parts", b64(good("")) + "." + b64(jwtPayload("")), CodeInvalid},
		{"form H with a JWT's signature", b64(payload("")) + "." + strings.Split(signJWT(t, "ed", good(""), payload("")), ".")[2], CodeInvalid},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			grant, err := v.Verify(tt.tok, now)
			checkCode(t, err, tt.code)
			if err != nil && grant.ID != "" {
				t.Errorf("a refused token gives the grant %+v", grant)
			}
		})
	}
}

func TestJWTClaims(t *testing.T) {
	v := verifier(t)
	with := jwtPayload
	tests := []struct{ name, kid, payload, code string }{
		{"least", "ec", with(""), ""},
		{"sub as hash", "ec", `{"sub":"` + hash + `","aud":["k"],"exp":1800000000}`, ""},
		{"unknown claim", "ec", with(`,"foo":1`), ""},
		{"no sub", "ec", `{"aud":"v","exp":1800000000}`, CodeInvalid},
		{"sub of two characters", "ec", `{"sub":"ab","aud":"v","exp":1800000000}`, CodeInvalid},
		{"sub is a scope", "ec", `{"sub":"v","aud":"v","exp":1800000000}`, CodeInvalid},
		{"sub with a slash", "ec", `{"sub":"film/1","aud":"v","exp":1800000000}`, CodeInvalid},
		{"sub list", "ec", `{"sub":["film-1"],"aud":"v","exp":1800000000}`, CodeInvalid},
		{"no aud", "ec", `{"sub":"film-1","exp":1800000000}`, CodeInvalid},
		{"aud null", "ec", `{"sub":"film-1","aud":null,"exp":1800000000}`, CodeInvalid},
		{"aud empty", "ec", `{"sub":"film-1","aud":[],"exp":1800000000}`, CodeInvalid},
		{"no exp", "ec", `{"sub":"film-1","aud":"v"}`, CodeInvalid},
		{"hash", "ec", with(`,"hash":"` + hash + `"`), CodeInvalid},
		{"case variant of sub", "ec", with(`,"Sub":"film-2"`), CodeInvalid},
		{"duplicate sub", "ec", with(`,"sub":"film-2"`), CodeInvalid},
		{"orgawide false", "ec", with(`,"orgawide":false`), ""},
		{"orgawide beside a sub", "wide", with(`,"iss":"app","orgawide":true`), CodeInvalid},
		{"orgawide, text", "wide", `{"aud":"v","exp":1800000000,"iss":"app","orgawide":"true"}`, CodeInvalid},
		{"crit_claims", "ec", with(`,"crit_claims":["geo"]`), CodeInvalid},
		{"NaN", "ec", with(`,"nbf":NaN`), CodeInvalid},
		{"expired", "ec", `{"sub":"film-1","aud":"v","exp":1799999700}`, CodeExpired},
		{"a day ahead", "ec", `{"sub":"film-1","aud":"v","exp":1800086100}`, ""},
		{"a day and a second ahead", "ec", `{"sub":"film-1","aud":"v","exp":1800086101}`, CodeTTLExceeded},
		{"a year ahead, by a key that may", "wide", `{"sub":"film-1","aud":"v","iss":"app","exp":1831535700}`, ""},
		{"more than a year ahead", "wide", `{"sub":"film-1","aud":"v","iss":"app","exp":1831535701}`, CodeTTLExceeded},
		{"iat 60 s ahead", "ec", with(`,"iat":1799999760`), ""},
		{"iat 61 s ahead", "ec", with(`,"iat":1799999761`), CodeNotYetValid},
		{"issuer missing", "wide", with(""), CodeIssuer},
		{"issuer of another", "wide", with(`,"iss":"App"`), CodeIssuer},
		{"issuer", "wide", with(`,"iss":"app"`), ""},
		{"wildcard", "wide", `{"sub":"*","aud":"*","iss":"app","exp":1800000000}`, ""},
		{"orgawide", "wide", `{"orgawide":true,"aud":"v","iss":"app","exp":1800000000}`, ""},
		{"wildcard by a key that may not", "ec", `{"sub":"*","aud":"v","exp":1800000000}`, CodeNotAllowed},
		{"orgawide by a key that may not", "ec", `{"orgawide":true,"aud":"v","exp":1800000000}`, CodeNotAllowed},
	}
	algs := map[string]string{"ec": ES256, "wide": EdDSA}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := v.Verify(signJWT(t, tt.kid, `{"alg":"`+algs[tt.kid]+`","kid":"`+tt.kid+`"}`, tt.payload), now)
			checkCode(t, err, tt.code)
		})
	}
}

func TestJWTSignatures(t *testing.T) {
	v := verifier(t)
	tok := signJWT(t, "ec", `{"alg":"ES256","kid":"ec"}`, jwtPayload(""))
	signed, sig := tok[:strings.LastIndexByte(tok, '.')], tok[strings.LastIndexByte(tok, '.')+1:]
	raw, err := base64.RawURLEncoding.DecodeString(sig)
	if err != nil || len(raw) != 64 {
		t.Fatal(err, len(raw))
	}
	r, s := new(big.Int).SetBytes(raw[:32]), new(big.Int).SetBytes(raw[32:])
	der, err := asn1.Marshal(struct{ R, S *big.Int }{r, s})
	if err != nil {
		t.Fatal(err)
	}
	other := new(big.Int).Sub(elliptic.P256().Params().N, s)
	respelt := slices.Concat(raw[:32], other.FillBytes(make([]byte, 32)))
	for name, sig := range map[string][]byte{
		"zero r and s": make([]byte, 64), "zero r": append(make([]byte, 32), raw[32:]...), "zero s": append(raw[:32:32], make([]byte, 32)...),
		"DER": der, "short": raw[:63], "long": append(raw[:64:64], 0), "one byte": {0},
		"r of the order": append(elliptic.P256().Params().N.FillBytes(make([]byte, 32)), raw[32:]...),
	} {
		_, err := v.Verify(signed+"."+base64.RawURLEncoding.EncodeToString(sig), now)
		if err == nil {
			t.Errorf("%s: accepted", name)
		}
		checkCode(t, err, CodeInvalid)
	}
	// ECDSA signatures have a twin, which anybody can make: the grant is the same.
	twin, err := v.Verify(signed+"."+base64.RawURLEncoding.EncodeToString(respelt), now)
	if err != nil {
		t.Fatal(err)
	}
	grant, err := v.Verify(tok, now)
	if err != nil || grant.ID != twin.ID {
		t.Errorf("respelling gives another ID: %v", err)
	}
	for _, kid := range []string{"rsa", "ed", "ec", "sym"} {
		tok, err := signer(t, kid).Mint(Claims{Subject: "film-1", Audience: []string{"v"}, ExpiresAt: now.Add(time.Minute)})
		if err != nil {
			t.Fatal(err)
		}
		for _, spoilt := range []string{
			tok + "=", tok + "\n", tok + ".", tok[:len(tok)-4], strings.Replace(tok, ".", "..", 1),
			tok[:len(tok)-6] + "AAAAAA", strings.Replace(tok, ".", "=.", 1), " " + tok,
		} {
			_, err := v.Verify(spoilt, now)
			checkCode(t, err, CodeInvalid)
		}
	}
}

func TestInspectNamesTheCheck(t *testing.T) {
	v := verifier(t)
	last := func(tok string) string {
		_, checks, err := inspect(v, tok, now)
		if len(checks) == 0 || !errors.Is(err, checks[len(checks)-1].Err) {
			t.Fatalf("%v, %v", checks, err)
		}
		for _, c := range checks[:len(checks)-1] {
			if c.Err != nil {
				t.Errorf("%s failed, and it went on", c.Name)
			}
		}
		return checks[len(checks)-1].Name
	}
	ec := `{"alg":"ES256","kid":"ec"}`
	for want, tok := range map[string]string{
		CheckSize: strings.Repeat("a", 5000), CheckEncoding: "a.b.c.d", CheckHeader: signJWT(t, "ec", `{"alg":"ES256","kid":"ec","crit":[]}`, jwtPayload("")),
		CheckKey: signJWT(t, "ec", `{"alg":"ES256","kid":"zz"}`, jwtPayload("")), CheckSignature: signJWT(t, "ec", ec, jwtPayload(""))[:40] + ".AA.AA",
		CheckClaims: signJWT(t, "ec", ec, `{}`), CheckTimes: signJWT(t, "ec", ec, `{"sub":"film-1","aud":"v","exp":1}`),
		CheckTTL:      signJWT(t, "ec", ec, `{"sub":"film-1","aud":"v","exp":1900000000}`),
		CheckIssuer:   signJWT(t, "wide", `{"alg":"EdDSA","kid":"wide"}`, jwtPayload("")),
		CheckWildcard: signJWT(t, "ec", ec, jwtPayload("")),
	} {
		if want == CheckSignature {
			tok = signJWT(t, "ec", ec, jwtPayload(""))
			tok = tok[:strings.LastIndexByte(tok, '.')] + ".AAAA"
		}
		if got := last(tok); got != want {
			t.Errorf("ends at %s, want %s", got, want)
		}
	}
	grant, err := v.Inspect(signJWT(t, "ec", ec, `{"sub":"film-1","aud":"v","exp":1}`), now, nil)
	if err == nil || grant.Subject != "film-1" {
		t.Errorf("%v: the claims of an expired token: %+v", err, grant)
	}
}

// FuzzJWT: whatever the three parts hold, a token without a good signature is
// refused with the one code; a signed payload that is accepted can be minted
// again and grants the same; and nothing opens more than its claims say.
func FuzzJWT(f *testing.F) {
	for _, more := range []string{"", `,"ip":["1.2.3.4","10.0.0.0/8"]`, `,"ref":"*.a.b"`, `,"aud":["v"]`, `,"kid":"sym"`, `,"orgawide":true`, `,"env":"staging"`} {
		f.Add([]byte(`{"alg":"HS256","kid":"sym"}`), []byte(jwtPayload(more)), []byte("sig"))
	}
	f.Add([]byte(`{"alg":"none","kid":"sym"}`), []byte(`{"aud":"*","sub":"*","exp":1800000000}`), []byte{})
	v, s := verifier(f), signer(f, "sym")
	f.Fuzz(func(t *testing.T, header, payload, sig []byte) {
		forged := b64(string(header)) + "." + b64(string(payload)) + "." + b64(string(sig))
		if _, err := v.Verify(forged, now); !errors.Is(err, Error{CodeInvalid}) && !errors.Is(err, Error{CodeTooLarge}) {
			m := hmac.New(sha256.New, symmetric)
			m.Write([]byte(forged[:strings.LastIndexByte(forged, '.')]))
			if !hmac.Equal(m.Sum(nil), sig) {
				t.Fatalf("%s: %v", forged, err)
			}
		}
		tok, err := s.sign(header, payload)
		if err != nil {
			return
		}
		grant, err := v.Verify(tok, now)
		if err != nil {
			if !errors.As(err, new(Error)) {
				t.Fatalf("no code: %v", err)
			}
			return
		}
		if grant.Subject == Wildcard || grant.KeyID != "sym" || !grant.ExpiresAt.After(now) || grant.ExpiresAt.After(now.Add(MaxTTL)) {
			t.Fatalf("%s grants %+v", payload, grant)
		}
		again, err := s.Mint(grant.Claims)
		if err != nil {
			t.Fatalf("%s: cannot be minted again: %v", payload, err)
		}
		second, err := v.Verify(again, now)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(grant.Claims, second.Claims, cmpopts.EquateComparable(netip.Prefix{}), cmpopts.EquateEmpty()); diff != "" {
			t.Fatal(diff)
		}
	})
}
