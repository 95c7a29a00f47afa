package verify

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
)

// The key and licence routes of sealcast, and where it serves titles.
var (
	keyRoute     = regexp.MustCompile(`^/api/key/([0-9a-f]{64})$`)
	licenceRoute = regexp.MustCompile(`^/api/license/clearkey/([0-9a-f]{64})$`)
	streamRoute  = regexp.MustCompile(`^/stream/([0-9a-f]{64})/`)
)

// clearKeySystem is the W3C Clear Key system in an MPD (DASH-IF IOP part 6).
const clearKeySystem = "urn:uuid:e2719d58-a985-b3c9-781a-b030af78d30e"

// keyring fetches every content key once.
type keyring struct {
	client *client
	mu     sync.Mutex
	keys   map[string]*keyFetch
	order  []string
}

type keyFetch struct {
	once sync.Once
	key  *contentKey
}

func newKeyring(c *client) *keyring { return &keyring{client: c, keys: map[string]*keyFetch{}} }

// get returns the key behind a URI, fetched by fetch.
func (k *keyring) get(uri string, fetch func() *contentKey) *contentKey {
	k.mu.Lock()
	f := k.keys[uri]
	if f == nil {
		f = &keyFetch{}
		k.keys[uri], k.order = f, append(k.order, uri)
	}
	k.mu.Unlock()
	f.once.Do(func() { f.key = fetch() })
	return f.key
}

// all returns what was fetched, in order.
func (k *keyring) all() (out []*contentKey) {
	for _, uri := range k.order {
		if key := k.keys[uri].key; key != nil {
			out = append(out, key)
		}
	}
	return out
}

// identity fetches the 16 bytes behind a key URI (RFC 8216bis, 5.1).
func (k *keyring) identity(ctx context.Context, uri string) *contentKey {
	return k.get(uri, func() *contentKey {
		key := &contentKey{URI: uri}
		if strings.HasPrefix(uri, "data:") {
			key.value, key.Fault = dataKey(uri)
			key.Answer, key.Size = answer{Status: http.StatusOK, Type: "application/octet-stream", Cache: "no-store"}, len(key.value)
			return key
		}
		body, a := k.client.do(ctx, http.MethodGet, uri, k.client.bearer(uri), nil, maxKey)
		key.Answer, key.Size = a, len(body)
		switch {
		case !a.ok():
			key.Fault = a.what() + problemCode(body)
			switch {
			case k.client.token == "" && a.Status == http.StatusUnauthorized:
				key.Fault += "; give a token with -token-file or SEALCAST_TOKEN"
			case k.client.token != "" && originOf(uri) != k.client.keyOrigin:
				key.Fault += "; the token was kept back from this origin: allow it with -key-origin " + originOf(uri)
			}
		case len(body) != aes.BlockSize:
			key.Fault = fmt.Sprintf("the key has %d bytes, want 16", len(body))
		default:
			key.value = body
		}
		return key
	})
}

// bearer is the token as a header, for the one origin that may have it.
func (c *client) bearer(uri string) http.Header {
	h := http.Header{}
	if c.token != "" && originOf(uri) == c.keyOrigin {
		h.Set("Authorization", "Bearer "+c.token)
	}
	return h
}

// licence asks a Clear Key licence server for a key (W3C EME, 9.1).
func (k *keyring) licence(ctx context.Context, uri, kid string) *contentKey {
	return k.get(uri+" "+kid, func() *contentKey {
		key := &contentKey{URI: uri}
		id, err := hex.DecodeString(kid)
		if err != nil {
			key.Fault = "the key id is no UUID"
			return key
		}
		key.id = id
		head := k.client.bearer(uri)
		head.Set("Content-Type", "application/json")
		body, a := k.client.do(ctx, http.MethodPost, uri, head, bytes.NewReader(licenceRequest(id)), maxKey)
		key.Answer = a
		if !a.ok() {
			key.Fault = a.what() + problemCode(body)
			return key
		}
		key.value, err = licenceKey(body, id)
		key.Size = len(key.value)
		if err != nil {
			key.Fault = err.Error()
		}
		return key
	})
}

// licenceKey finds a key in a JWK set.
func licenceKey(body, id []byte) ([]byte, error) {
	var set struct {
		Keys []struct{ Kty, K, Kid string }
	}
	if err := json.Unmarshal(body, &set); err != nil {
		return nil, fmt.Errorf("the licence is no JSON")
	}
	for _, k := range set.Keys {
		kid, err1 := base64.RawURLEncoding.DecodeString(k.Kid)
		value, err2 := base64.RawURLEncoding.DecodeString(k.K)
		if err1 == nil && err2 == nil && bytes.Equal(kid, id) && len(value) == aes.BlockSize {
			return value, nil
		}
	}
	return nil, fmt.Errorf("the licence has no key of 16 bytes with this id")
}

// dataKey reads a key out of a data: URL, as ClearKey manifests have it.
func dataKey(uri string) ([]byte, string) {
	_, data, ok := strings.Cut(uri, ",")
	if !ok {
		return nil, "the data: URL is empty"
	}
	raw, err := base64.StdEncoding.DecodeString(data)
	if err != nil || len(raw) != aes.BlockSize {
		return nil, "the data: URL does not hold 16 bytes"
	}
	return raw, ""
}

// problemCode returns " (code)" of a problem document.
func problemCode(body []byte) string {
	var p struct{ Code string }
	if json.Unmarshal(body, &p) == nil && p.Code != "" {
		return " (" + clip(p.Code) + ")"
	}
	return ""
}

// undoAES128 decrypts METHOD=AES-128: CBC over the whole segment with PKCS #7
// padding (RFC 8216bis, 4.4.4.4 and 5.2).
func undoAES128(body, key []byte, iv [16]byte) ([]byte, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("content key: %w", err)
	}
	if len(body) == 0 || len(body)%aes.BlockSize != 0 {
		return nil, fmt.Errorf("%d bytes are no whole number of cipher blocks", len(body))
	}
	cipher.NewCBCDecrypter(block, iv[:]).CryptBlocks(body, body)
	pad := int(body[len(body)-1])
	if pad < 1 || pad > aes.BlockSize || !bytes.Equal(body[len(body)-pad:], bytes.Repeat([]byte{byte(pad)}, pad)) {
		return nil, fmt.Errorf("wrong padding after decryption: not the key or not the IV of this segment")
	}
	return body[:len(body)-pad], nil
}

// probeKeys asks every key and licence route that looks like ours for what it
// must refuse.
func probeKeys(ctx context.Context, c *client, keys []*contentKey) []probe {
	p := prober{ctx: ctx, client: c}
	seen := map[string]bool{}
	for _, k := range keys {
		u, err := url.Parse(k.URI)
		const most = 400 // of a title with many key periods
		if err != nil || seen[k.URI] || len(p.out) > most {
			continue
		}
		seen[k.URI] = true
		if m := keyRoute.FindStringSubmatch(u.Path); m != nil {
			p.key(*u, m[1])
		} else if m := licenceRoute.FindStringSubmatch(u.Path); m != nil {
			p.licence(*u, m[1], k.id)
		}
	}
	return p.out
}

// prober makes requests that must not give a key.
type prober struct {
	ctx    context.Context
	client *client
	out    []probe
}

func (p *prober) ask(method, what, uri, authorization string, body []byte, want int, code string) {
	head := http.Header{}
	if authorization != "" {
		head.Set("Authorization", authorization)
	}
	got, a := p.client.do(p.ctx, method, uri, head, bytes.NewReader(body), maxKey)
	p.out = append(p.out, probe{
		What: what, Want: want, Code: code, URI: uri, Answer: a, Got: strings.Trim(problemCode(got), " ()"),
		Leaks: a.Status != http.StatusOK && (len(got) == aes.BlockSize || bytes.Contains(got, []byte(`"keys"`))),
	})
}

// forged is a token of the right form that nobody signed.
func forged(hash string) string {
	return "Bearer " + base64.RawURLEncoding.EncodeToString([]byte(`{"hash":"`+hash+`","exp":4102444800}`)) +
		"." + base64.RawURLEncoding.EncodeToString(make([]byte, 32))
}

// trusted reports whether the token may be sent to an address.
func (p *prober) trusted(uri string) bool {
	return p.client.token != "" && originOf(uri) == p.client.keyOrigin
}

func (p *prober) key(u url.URL, hash string) {
	get := func(what, uri, authorization string, want int, code string) {
		p.ask(http.MethodGet, what, uri, authorization, nil, want, code)
	}
	plain := u.String()
	get("without a token", plain, "", http.StatusUnauthorized, "token_required")
	get("with a forged token", plain, forged(hash), http.StatusForbidden, "")
	if !p.trusted(plain) {
		return
	}
	get("with the token in another scheme", plain, "Basic "+p.client.token, http.StatusUnauthorized, "token_required")
	foreign, unknown := u, u
	foreign.Path, foreign.RawQuery = "/api/key/"+strings.Repeat("0", 64), ""
	get("of another title with this token", foreign.String(), "Bearer "+p.client.token, http.StatusForbidden, "token_mismatch")
	unknown.RawQuery = "kid=" + unknownKID
	get("with a key id that is not the title's", unknown.String(), "Bearer "+p.client.token, http.StatusNotFound, "no_key")
}

// unknownKID is a key id that no title has.
const unknownKID = "00000000000000000000000000000001"

func (p *prober) licence(u url.URL, hash string, id []byte) {
	none, _ := hex.DecodeString(unknownKID)
	post := func(what, uri, authorization string, kid []byte, want int, code string) {
		p.ask(http.MethodPost, what, uri, authorization, licenceRequest(kid), want, code)
	}
	plain := u.String()
	post("without a token", plain, "", id, http.StatusUnauthorized, "token_required")
	post("with a forged token", plain, forged(hash), id, http.StatusForbidden, "")
	if !p.trusted(plain) {
		return
	}
	foreign := u
	foreign.Path = "/api/license/clearkey/" + strings.Repeat("0", 64)
	post("of another title with this token", foreign.String(), "Bearer "+p.client.token, id, http.StatusForbidden, "token_mismatch")
	post("with a key id that is not the title's", plain, "Bearer "+p.client.token, none, http.StatusNotFound, "no_key")
}

// licenceRequest is what a browser sends (W3C EME, 9.1.3).
func licenceRequest(kid []byte) []byte {
	ask, _ := json.Marshal(map[string]any{"kids": []string{base64.RawURLEncoding.EncodeToString(kid)}, "type": "temporary"}) // strings: cannot fail
	return ask
}

// preflight asks as a page of the origin does before it sends the token.
func preflight(ctx context.Context, c *client, uri, method string) probe {
	head := http.Header{}
	head.Set("Access-Control-Request-Method", method)
	head.Set("Access-Control-Request-Headers", "authorization")
	_, a := c.do(ctx, http.MethodOptions, uri, head, nil, maxKey)
	return probe{What: "preflight", URI: uri, Answer: a}
}

// method is how the key was asked for.
func (k *contentKey) method() string {
	if k.id != nil {
		return http.MethodPost
	}
	return http.MethodGet
}
