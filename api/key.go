package api

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strconv"

	"github.com/sealcast/sealcast/internal/access"
	"github.com/sealcast/sealcast/internal/cenc"
	"github.com/sealcast/sealcast/keystore"
)

// secretHeaders are on every answer of a key route: nobody may keep it, guess
// its type, learn its address from a Referer, or be kept from reading it by
// cross-origin isolation.
func secretHeaders(h http.Header) { maps.Copy(h, ofSecrets) }

var ofSecrets = http.Header{
	"Cache-Control":                {"no-store"},
	"X-Content-Type-Options":       {"nosniff"},
	"Referrer-Policy":              {"no-referrer"},
	"Cross-Origin-Resource-Policy": {"cross-origin"},
}

// ofKeys are the headers of the key itself.
var ofKeys = http.Header{
	"Content-Type":   {"application/octet-stream"},
	"Content-Length": {strconv.Itoa(cenc.KeySize)},
}

// getKey gives the 16 bytes of a content key: the one that ?kid= names, or the
// title's default. The token has been verified for this title and opens every
// key of it. Range and conditional headers are ignored, there is no ETag.
func (s *server) getKey(w http.ResponseWriter, r *http.Request) error {
	return s.giveKey(w, r, r.PathValue("hash"))
}

// giveKey answers with a key of the title that the request was admitted to.
func (s *server) giveKey(w http.ResponseWriter, r *http.Request, hash string) error {
	if err := s.limitKeys(r); err != nil {
		return err
	}
	kid, err := kidOf(r.URL)
	if err != nil {
		return err
	}
	key, err := s.viewerKey(r, hash, kid)
	if err != nil {
		return err
	}
	if err := s.handOut(r, key); err != nil {
		return err
	}
	maps.Copy(w.Header(), ofKeys)
	content := key.Content.Bytes()
	_, _ = w.Write(content)
	clear(content)
	return nil
}

// viewerKey reads the key that a verified token opens: the one of kid, or the
// title's default. Every key that leaves this API passes here, and then handOut.
func (s *server) viewerKey(r *http.Request, hash string, kid *cenc.KID) (keystore.Key, error) {
	key, err := s.Keys.Served(r.Context(), hash, kid)
	if err != nil {
		if !errors.Is(err, keystore.ErrNotFound) && !errors.Is(err, keystore.ErrIntegrity) {
			s.metrics.failed(r, depPostgres)
		}
		return keystore.Key{}, err
	}
	if key.Hash != hash || (kid != nil && key.KID != *kid) || key.Content.IsZero() {
		return keystore.Key{}, fmt.Errorf("key store gave another key: %w", keystore.ErrIntegrity)
	}
	return key, nil
}

// kidOf reads ?kid=. A value that names no key, or two, is no key.
func kidOf(u *url.URL) (*cenc.KID, error) {
	if u.RawQuery == "" {
		return nil, nil
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, keystore.ErrNotFound
	}
	values, given := query["kid"]
	if !given {
		return nil, nil
	}
	if len(values) != 1 {
		return nil, keystore.ErrNotFound
	}
	kid, err := cenc.ParseKID(values[0])
	if err != nil {
		return nil, keystore.ErrNotFound
	}
	return &kid, nil
}

// limitSubject names whoever a verified token speaks for: its user, its session
// or the token itself, never its text, of which there may be two spellings.
func limitSubject(g access.Grant) string {
	switch {
	case g.UID != "":
		return "user:" + g.KeyID + ":" + g.UID
	case g.SID != "":
		return "session:" + g.KeyID + ":" + g.SID
	}
	return "token:" + g.ID
}

// limitKeys counts a request for a key against what the token says and against
// the client address, never against text that nobody verified.
func (s *server) limitKeys(r *http.Request) error { return s.limit(r, "") }

// limit counts a request of a kind: those of one kind leave the others alone.
func (s *server) limit(r *http.Request, kind string) error {
	x := exchangeOf(r)
	err := s.limitOne(r, kind+"client:"+limitKey(x.client), s.KeysPerClient)
	if err == nil && !x.grant.Anonymous { // viewers of a public playback key have nothing in common
		err = s.limitOne(r, kind+limitSubject(x.grant), s.KeysPerToken)
	}
	return err
}

func (s *server) limitOne(r *http.Request, key string, perMinute int) error {
	if ok, after := s.limiter.allow(r.Context(), key, perMinute); !ok {
		return rateLimited(after)
	}
	return nil
}
