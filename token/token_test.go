package token

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const secret = "0123456789abcdef0123456789abcdef"

var (
	hash = strings.Repeat("ab", 32)
	now  = time.Unix(1_799_999_700, 0) // five minutes before the vector expires
)

// vector was made by Python's hmac and base64 modules: the wire format that
// other systems mint.
const vector = "eyJoYXNoIjoiYWJhYmFiYWJhYmFiYWJhYmFiYWJhYmFiYWJhYmFiYWJhYmFiYWJhYmFiYWJhYmFiYWJhYmFiYWJhYmFiYWJhYiIsImV4cCI6MTgwMDAwMDAwMH0" +
	".l79k3TuwRTK7QyejEwWUsl-C1f-qVJ4kFv51cvZ0oBo"

func newHMAC(t testing.TB) *HMAC {
	t.Helper()
	h, err := NewHMAC([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestVectorOfAnotherImplementation(t *testing.T) {
	h := newHMAC(t)
	claims := Claims{Hash: hash, ExpiresAt: time.Unix(1_800_000_000, 0)}
	got, err := h.Mint(claims)
	if err != nil || got != vector {
		t.Fatalf("Mint = %q, %v", got, err)
	}
	grant, err := h.Verify(vector, now)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(claims, grant.Claims); diff != "" {
		t.Error(diff)
	}
	if len(grant.ID) != 32 || strings.Contains(vector, grant.ID) {
		t.Errorf("ID = %q", grant.ID)
	}
}

func TestRoundTripOfAllClaims(t *testing.T) {
	h := newHMAC(t)
	claims := Claims{
		Hash: hash, ExpiresAt: now.Add(time.Hour), NotBefore: now, IssuedAt: now.Add(-time.Hour),
		JTI: "j", SID: "s", UID: "ü<>&\u2028", Tag: strings.Repeat("t", 64),
		Tags: []string{"1", "2", "3", "4", "5", "6", "7", ""}, Cust: strings.Repeat("c", 512),
	}
	tok, err := h.Mint(claims)
	if err != nil {
		t.Fatal(err)
	}
	grant, err := h.Verify(tok, now)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(claims, grant.Claims); diff != "" {
		t.Error(diff)
	}
}

// payload is a good payload with more members behind it.
func payload(more string) string {
	return `{"hash":"` + hash + `","exp":1800000000` + more + `}`
}

func TestVerifyPayloads(t *testing.T) {
	h := newHMAC(t)
	with := func(name, value string) string { return payload(`,"` + name + `":` + value) }
	exp := func(value string) string { return `{"hash":"` + hash + `","exp":` + value + `}` }
	quoted := func(n int) string { return `"` + strings.Repeat("x", n) + `"` }
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	tests := []struct{ name, payload, code string }{
		{"minimal", payload(""), ""},
		{"other order and white space", " {\n\"exp\" : 1800000000 ,\"hash\":\"" + hash + "\"}\n", ""},
		{"escaped name", strings.Replace(payload(""), `"hash"`, `"ha\u0073h"`, 1), ""},
		{"unknown claim", with("foo", `{"a":[1,{"b":null}]}`), ""},
		{"issuer that nobody recorded", with("iss", `"app"`), ""},

		{"empty", "", CodeInvalid},
		{"not JSON", "hello", CodeInvalid},
		{"null", "null", CodeInvalid},
		{"array", "[" + payload("") + "]", CodeInvalid},
		{"string", `"x"`, CodeInvalid},
		{"trailing object", payload("") + "{}", CodeInvalid},
		{"trailing bracket", payload("") + "}", CodeInvalid},
		{"trailing comma", payload(","), CodeInvalid},
		{"byte order mark", "\ufeff" + payload(""), CodeInvalid},
		{"comment", payload("/**/"), CodeInvalid},
		{"NUL behind", payload("") + "\x00", CodeInvalid},
		{"invalid UTF-8", with("uid", "\"\xff\""), CodeInvalid},
		{"invalid UTF-8 in a name", payload(",\"\xff\":1"), CodeInvalid},
		{"lone surrogate", with("uid", `"\ud800"`), CodeInvalid},
		{"lone surrogate in a name", payload(`,"\ud800":1`), CodeInvalid},
		{"deep nesting", with("foo", deep(1400)), CodeInvalid},
		{"nested at the bound", with("foo", deep(7)), ""},
		{"nested above the bound", with("foo", deep(8)), CodeInvalid},

		{"hash absent", `{"exp":1800000000}`, CodeInvalid},
		{"hash null", `{"hash":null,"exp":1800000000}`, CodeInvalid},
		{"hash number", `{"hash":1,"exp":1800000000}`, CodeInvalid},
		{"hash list", `{"hash":["` + hash + `"],"exp":1800000000}`, CodeInvalid},
		{"hash wildcard", `{"hash":"*","exp":1800000000}`, CodeInvalid},
		{"hash scope letter", `{"hash":"v","exp":1800000000}`, CodeInvalid},
		{"hash upper case", strings.Replace(payload(""), hash, strings.ToUpper(hash), 1), CodeInvalid},
		{"hash short", strings.Replace(payload(""), hash, hash[1:], 1), CodeInvalid},
		{"hash with a line break", strings.Replace(payload(""), hash, hash[2:]+`\n0`, 1), CodeInvalid},
		{"duplicate hash", with("hash", `"`+hash+`"`), CodeInvalid},
		{"duplicate hash, escaped", with(`ha\u0073h`, `"`+hash+`"`), CodeInvalid},
		{"duplicate exp", with("exp", "1800000001"), CodeInvalid},
		{"duplicate unknown", payload(`,"a":1,"a":1`), CodeInvalid},
		{"duplicate deep inside", with("foo", `[{"a":{"b":1,"b":2}}]`), CodeInvalid},
		{"case variant beside", with("Hash", `"`+hash+`"`), CodeInvalid},
		{"case variant alone", strings.Replace(payload(""), `"hash"`, `"HASH"`, 1), CodeInvalid},
		{"case variant of exp", with("eXp", "1900000000"), CodeInvalid},
		{"case variant by Unicode folding", with("haſh", `"`+hash+`"`), CodeInvalid},
		{"case variant of a refused claim", with("\u212aid", `"1"`), CodeInvalid},

		{"exp absent", `{"hash":"` + hash + `"}`, CodeInvalid},
		{"exp null", exp("null"), CodeInvalid},
		{"exp string", exp(`"1800000000"`), CodeInvalid},
		{"exp fraction", exp("1800000000.0"), CodeInvalid},
		{"exp exponent", exp("18e8"), CodeInvalid},
		{"exp 1e18", exp("1e18"), CodeInvalid},
		{"exp 10^18", exp("1000000000000000000"), CodeInvalid},
		{"exp beyond 64 bits", exp("18446744075509551616"), CodeInvalid},
		{"exp after the year 9999", exp("253402300800"), CodeInvalid},
		{"exp negative", exp("-1"), CodeInvalid},
		{"exp minus zero", exp("-0"), CodeInvalid},
		{"exp with a plus", exp("+1800000000"), CodeInvalid},
		{"exp with a leading zero", exp("01800000000"), CodeInvalid},
		{"exp hexadecimal", exp("0x6b49d200"), CodeInvalid},
		{"exp boolean", exp("true"), CodeInvalid},
		{"exp list", exp("[1800000000]"), CodeInvalid},
		{"exp zero", exp("0"), CodeExpired},
		{"exp now", exp("1799999700"), CodeExpired},
		{"exp a second ahead", exp("1799999701"), ""},
		{"exp a day ahead", exp("1800086100"), ""},
		{"exp a day and a second ahead", exp("1800086101"), CodeTTLExceeded},
		{"exp in the year 9999", exp("253402300799"), CodeTTLExceeded},

		{"nbf 60 s ahead", with("nbf", "1799999760"), ""},
		{"nbf 61 s ahead", with("nbf", "1799999761"), CodeNotYetValid},
		{"nbf string", with("nbf", `"1"`), CodeInvalid},
		{"nbf null", with("nbf", "null"), CodeInvalid},
		{"iat 60 s ahead", with("iat", "1799999760"), ""},
		{"iat 61 s ahead", with("iat", "1799999761"), CodeNotYetValid},
		{"iat fraction", with("iat", "1.5"), CodeInvalid},

		{"tag of 64 bytes", with("tag", quoted(64)), ""},
		{"tag of 65 bytes", with("tag", quoted(65)), CodeInvalid},
		{"eight tags", with("tags", `["","","","","","","",""]`), ""},
		{"nine tags", with("tags", `["","","","","","","","",""]`), CodeInvalid},
		{"tags with a number", with("tags", `[1]`), CodeInvalid},
		{"tags with null", with("tags", `[null]`), CodeInvalid},
		{"tags null", with("tags", `null`), CodeInvalid},
		{"long entry of tags", with("tags", `[`+quoted(65)+`]`), CodeInvalid},
		{"cust of 512 bytes", with("cust", quoted(512)), ""},
		{"cust of 513 bytes", with("cust", quoted(513)), CodeInvalid},
		{"uid number", with("uid", "1"), CodeInvalid},
		{"iss number", with("iss", "1"), CodeInvalid},

		{"ip", with("ip", `"192.0.2.1"`), ""},
		{"ip, list with CIDR", with("ip", `["192.0.2.1","2001:db8::/32"]`), ""},
		{"ip, eight", with("ip", `["1.1.1.1","1.1.1.2","1.1.1.3","1.1.1.4","1.1.1.5","1.1.1.6","1.1.1.7","1.1.1.8"]`), ""},
		{"ip, nine", with("ip", `["1.1.1.1","1.1.1.2","1.1.1.3","1.1.1.4","1.1.1.5","1.1.1.6","1.1.1.7","1.1.1.8","1.1.1.9"]`), CodeInvalid},
		{"ip, no entry", with("ip", `[]`), CodeInvalid},
		{"ip, empty", with("ip", `""`), CodeInvalid},
		{"ip, zone", with("ip", `"fe80::1%eth0"`), CodeInvalid},
		{"ip, leading zero", with("ip", `"192.0.2.01"`), CodeInvalid},
		{"ip, everybody mapped", with("ip", `"::ffff:0:0/64"`), CodeInvalid},
		{"ip, number", with("ip", `1`), CodeInvalid},
		{"ip, object", with("ip", `{}`), CodeInvalid},
		{"ref", with("ref", `["a.example","*.b.example"]`), ""},
		{"ref, upper case", with("ref", `"A.example"`), ""},
		{"referer", with("referer", `"a.example"`), ""},
		{"domain", with("domain", `"a.example"`), ""},
		{"ref and domain", with("ref", `"a.example","domain":"b.example"`), CodeInvalid},
		{"ref, no entry", with("ref", `[]`), CodeInvalid},
		{"ref, star", with("ref", `"*"`), CodeInvalid},
		{"ref, star inside", with("ref", `"a.*.example"`), CodeInvalid},
		{"ref, star glued", with("ref", `"*a.example"`), CodeInvalid},
		{"ref, URL", with("ref", `"https://a.example"`), CodeInvalid},
		{"ref, port", with("ref", `"a.example:80"`), CodeInvalid},
		{"ref, eleven", with("ref", `["a","b","c","d","e","f","g","h","i","j","k"]`), CodeInvalid},
		{"env", with("env", `"production"`), ""},
		{"env, unknown", with("env", `"prod"`), CodeInvalid},
		{"env, empty", with("env", `""`), CodeInvalid},
		{"aud", with("aud", `["k","t"]`), ""},
		{"aud, no entry", with("aud", `[]`), CodeInvalid},
		{"aud, nine", with("aud", `["a","b","c","d","e","f","g","h","i"]`), CodeInvalid},
		{"crit_claims that are known", with("crit_claims", `["ip","exp"]`), ""},

		// What would make the token another's, or that nobody knows here: fail closed.
		{"sub", with("sub", `"`+hash+`"`), CodeInvalid},
		{"kid without other keys", with("kid", `"1"`), CodeInvalid},
		{"kid with a path", with("kid", `"../../dev/null"`), CodeInvalid},
		{"orgawide", with("orgawide", `true`), CodeInvalid},
		{"orgawide false", with("orgawide", `false`), CodeInvalid},
		{"crit_claims", with("crit_claims", `["geo"]`), CodeInvalid},
		{"crit_claims, one string", with("crit_claims", `"ip"`), CodeInvalid},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			grant, err := h.Verify(h.sign([]byte(tt.payload)), now)
			checkCode(t, err, tt.code)
			if err != nil && !cmp.Equal(grant, Grant{}) {
				t.Errorf("a refused token gives the grant %+v", grant)
			}
		})
	}
}

func TestVerifySpellings(t *testing.T) {
	h := newHMAC(t)
	first, mac, _ := strings.Cut(vector, ".")
	other, err := NewHMAC([]byte(strings.Repeat("x", 32)))
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := other.Mint(Claims{Hash: hash, ExpiresAt: now.Add(time.Minute)})
	if err != nil {
		t.Fatal(err)
	}
	sum, err := base64.RawURLEncoding.DecodeString(mac)
	if err != nil {
		t.Fatal(err)
	}
	resign := func(first string) string { // a good signature over a bad spelling
		return first + "." + base64.RawURLEncoding.EncodeToString(h.mac(first))
	}
	signed := func(n int) string {
		return h.sign([]byte(payload(strings.Repeat(" ", n))))
	}
	full := 0
	for n := range 3000 {
		if len(signed(n)) <= MaxSize {
			full = n
		}
	}
	tests := []struct{ name, tok, code string }{
		{"good", vector, ""},
		{"as large as allowed", signed(full), ""},
		{"too large", signed(full + 3), CodeTooLarge},
		{"10 kB", strings.Repeat("a", 10_000), CodeTooLarge},
		{"thousands of dots", strings.Repeat(".", 4000), CodeInvalid},
		{"more dots than bytes allowed", strings.Repeat(".", 5000), CodeTooLarge},
		{"empty", "", CodeInvalid},
		{"dot", ".", CodeInvalid},
		{"one part", first, CodeInvalid},
		{"no signature", first + ".", CodeInvalid},
		{"no payload", "." + mac, CodeInvalid},
		{"three parts", vector + "." + mac, CodeInvalid},
		{"three parts, empty", vector + ".", CodeInvalid},
		{"JWT, alg none", "eyJhbGciOiJub25lIn0." + first + ".", CodeInvalid},
		{"JWT, alg HS256", "eyJhbGciOiJIUzI1NiJ9." + first + "." + mac, CodeInvalid},
		{"session prefix", "st_" + vector, CodeInvalid},
		{"padding on the signature", vector + "=", CodeInvalid},
		{"padding on the payload, signed", resign(first + "=="), CodeInvalid},
		{"trailing bits in the signature", vector[:len(vector)-1] + "p", CodeInvalid},
		{"trailing bits in the payload, signed", resign(trailingBits(t)), CodeInvalid},
		{"line break at the end", vector + "\n", CodeInvalid},
		{"carriage return at the end", vector + "\r\n", CodeInvalid},
		{"line break in the payload, signed", resign(first[:20] + "\n" + first[20:]), CodeInvalid},
		{"line break in the signature", vector[:len(vector)-4] + "\n" + vector[len(vector)-4:], CodeInvalid},
		{"space", vector + " ", CodeInvalid},
		{"standard alphabet", strings.NewReplacer("-", "+", "_", "/").Replace(vector), CodeInvalid},
		{"NUL", vector + "\x00", CodeInvalid},
		{"hex signature", first + "." + hex.EncodeToString(sum), CodeInvalid},
		{"short signature", first + "." + base64.RawURLEncoding.EncodeToString(sum[:16]), CodeInvalid},
		{"long signature", first + "." + base64.RawURLEncoding.EncodeToString(append(sum[:32:32], 0)), CodeInvalid},
		{"zero signature", first + "." + base64.RawURLEncoding.EncodeToString(make([]byte, 32)), CodeInvalid},
		{"signature of another payload", base64.RawURLEncoding.EncodeToString([]byte(payload(" "))) + "." + mac, CodeInvalid},
		{"other secret", foreign, CodeInvalid},
		{"API key in its place", "a-configured-api-key", CodeInvalid},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := h.Verify(tt.tok, now)
			checkCode(t, err, tt.code)
		})
	}
	t.Run("every bit counts", func(t *testing.T) {
		for i := range vector {
			for bit := range 8 {
				b := []byte(vector)
				b[i] ^= 1 << bit
				if _, err := h.Verify(string(b), now); !errors.Is(err, Error{CodeInvalid}) {
					t.Fatalf("byte %d, bit %d: %v", i, bit, err)
				}
			}
		}
	})
}

// trailingBits spells a good payload with a last character whose unused bits are set.
func trailingBits(t *testing.T) string {
	t.Helper()
	s := base64.RawURLEncoding.EncodeToString([]byte(payload("  "))) // length ≡ 2 mod 3 or 1 mod 3
	if len(s)%4 == 0 {
		s = base64.RawURLEncoding.EncodeToString([]byte(payload(" ")))
	}
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(alphabet, s[len(s)-1])
	loose := s[:len(s)-1] + string(alphabet[last|1])
	a, err1 := base64.RawURLEncoding.DecodeString(s)
	b, err2 := base64.RawURLEncoding.DecodeString(loose)
	if s == loose || err1 != nil || err2 != nil || !bytes.Equal(a, b) {
		t.Fatalf("not a second spelling: %q, %q", s, loose)
	}
	return loose
}

func checkCode(t *testing.T, err error, code string) {
	t.Helper()
	if code == "" {
		if err != nil {
			t.Fatalf("refused: %v", err)
		}
		return
	}
	if !errors.Is(err, Error{code}) {
		t.Fatalf("got %#v, want code %s", err, code)
	}
	if err.Error() != (Error{code}).Error() {
		t.Errorf("a text of its own: %q", err)
	}
}

func TestMintRefusesWhatVerifyWould(t *testing.T) {
	h := newHMAC(t)
	good := Claims{Hash: hash, ExpiresAt: now}
	tests := map[string]func(*Claims){
		"no hash":         func(c *Claims) { c.Hash = "" },
		"upper case":      func(c *Claims) { c.Hash = strings.ToUpper(hash) },
		"no exp":          func(c *Claims) { c.ExpiresAt = time.Time{} },
		"exp before 1970": func(c *Claims) { c.ExpiresAt = time.Unix(-1, 0) },
		"exp too far":     func(c *Claims) { c.ExpiresAt = time.Unix(maxUnix+1, 0) },
		"invalid UTF-8":   func(c *Claims) { c.UID = "\xff" },
		"replacement":     func(c *Claims) { c.UID = "\ufffd" },
		"long tag":        func(c *Claims) { c.Tag = strings.Repeat("x", 65) },
		"many tags":       func(c *Claims) { c.Tags = make([]string, 9) },
		"long cust":       func(c *Claims) { c.Cust = strings.Repeat("x", 513) },
		"too large":       func(c *Claims) { c.UID = strings.Repeat("x", 4000) },
	}
	for name, spoil := range tests {
		t.Run(name, func(t *testing.T) {
			c := good
			spoil(&c)
			if tok, err := h.Mint(c); err == nil {
				t.Errorf("minted %q", tok)
			}
		})
	}
}

func TestSecretLengths(t *testing.T) {
	for _, n := range []int{0, 1, 15} {
		if _, err := NewHMAC(make([]byte, n)); err == nil {
			t.Errorf("%d bytes accepted", n)
		}
	}
	for n, weak := range map[int]bool{16: true, 31: true, 32: false, 64: false} {
		h, err := NewHMAC(make([]byte, n))
		if err != nil || h.Weak() != weak {
			t.Errorf("%d bytes: weak %v, %v", n, h.Weak(), err)
		}
	}
}

func TestSecretIsCopied(t *testing.T) {
	mine := []byte(secret)
	h, err := NewHMAC(mine)
	if err != nil {
		t.Fatal(err)
	}
	clear(mine)
	if _, err := h.Verify(vector, now); err != nil {
		t.Error(err)
	}
}

func TestSecretRedactsItself(t *testing.T) {
	h := newHMAC(t)
	holder := struct{ Tokens *HMAC }{h}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		fmt.Fprintf(&out, verb+"\n", h)
		fmt.Fprintf(&out, verb+"\n", holder)
	}
	if err := json.NewEncoder(&out).Encode(holder); err != nil {
		t.Fatal(err)
	}
	for _, handler := range []slog.Handler{slog.NewJSONHandler(&out, nil), slog.NewTextHandler(&out, nil)} {
		slog.New(handler).Info("x", "tokens", h, "holder", holder)
	}
	printed := strings.ToLower(out.String())
	for _, leak := range []string{secret[:8], hex.EncodeToString([]byte(secret[:8])), "48 49 50"} {
		if strings.Contains(printed, leak) {
			t.Errorf("the secret shows as %q in:\n%s", leak, printed)
		}
	}
	if !strings.Contains(printed, redacted) {
		t.Error("the placeholder is missing")
	}
}
