package api

import (
	"net/http"
	"strings"

	"github.com/sealcast/sealcast/internal/access"
	"github.com/sealcast/sealcast/token"
)

// cookieName is that of the cookie that carries a session: __Secure- keeps
// pages without TLS from setting it (RFC 6265bis, 4.1.3.1).
const cookieName = "__Secure-pb"

// credential is the one token of a request and how it came.
type credential struct {
	token   string // empty: none
	carrier access.Carrier
}

// credentialOf finds the request's token. Two explicit carriers are refused; a
// cookie, which a browser adds by itself, counts only without one. An API key
// is no token. byQuery says whether a query carries one here; where it does
// not, it is still a second carrier beside another.
func credentialOf(r *http.Request, byQuery bool) (credential, error) {
	var found []credential
	headers := r.Header.Values("Authorization")
	for _, h := range headers {
		if bearer, ok := bearerToken(h); ok && bearer != "" {
			found = append(found, credential{bearer, access.CarrierHeader})
		}
	}
	if tok := r.PathValue("token"); tok != "" {
		found = append(found, credential{tok, access.CarrierPath})
	}
	query := r.URL.Query()
	for _, name := range []string{"jwt", "token"} {
		for _, value := range query[name] {
			found = append(found, credential{value, access.CarrierQuery})
		}
	}
	if len(found) > 1 || len(headers) > 1 || (len(headers) == 1 && len(found) == 1 && found[0].carrier != access.CarrierHeader) {
		return credential{}, ambiguousCredentials()
	}
	if len(found) == 1 {
		c := found[0]
		switch {
		case c.carrier == access.CarrierQuery && !byQuery:
			return credential{}, access.ErrTokenRequired
		case len(c.token) > token.MaxSize:
			return credential{}, token.Error{Code: token.CodeTooLarge}
		}
		return c, nil
	}
	if c, err := r.Cookie(cookieName); err == nil {
		return credential{c.Value, access.CarrierCookie}, nil
	}
	return credential{}, nil
}

// admit finds the request's token and holds it against what the path names. The
// exchange keeps the grant, of a token that is refused after its signature, too.
func (s *server) admit(r *http.Request, pathID string, scope byte, byQuery bool) (access.Grant, credential, error) {
	c, err := credentialOf(r, byQuery)
	if err != nil {
		return access.Grant{}, c, err
	}
	grant, err := s.Gate.Authorize(r.Context(), s.viewerRequest(r, c, pathID, scope))
	x := exchangeOf(r)
	x.grant = grant
	if err != nil {
		return grant, c, err
	}
	x.hash = grant.Hash
	return grant, c, nil
}

// embedderHeader names the page that our own player page is embedded in. Only a
// page of our own origin can send it: it is not among the headers that pages of
// other origins may send.
const embedderHeader = "Sealcast-Embedder"

// viewerRequest is what the gate wants to know. For a request of our own player
// page the page that asks is the one around it.
func (s *server) viewerRequest(r *http.Request, c credential, pathID string, scope byte) access.Request {
	req := accessRequest(r, c.token, c.carrier, pathID, scope)
	if values := r.Header.Values(embedderHeader); len(values) == 1 && r.Header.Get("Sec-Fetch-Site") == "same-origin" {
		req.Origin = values[0]
	}
	return req
}

// isPlaybackKey reports whether s has the form of a playback key: 3 to 64 of
// A-Z a-z 0-9 _ -, and not that of a hash.
func isPlaybackKey(s string) bool { return access.IsPlaybackKeyID(s) }

// scopeOfName says what an object shows, by its name within a publication. Nothing
// else is known of it before the gate has decided.
func scopeOfName(name string) byte {
	first, _, _ := strings.Cut(name, "/")
	switch {
	case first == "text":
		return token.ScopeText
	case first == kindStatic, first == originalName:
		return token.ScopeDownload
	case strings.HasPrefix(first, "storyboard"):
		return token.ScopeStoryboard
	case strings.HasPrefix(first, "poster."), strings.HasPrefix(first, "preview."), strings.HasPrefix(first, "thumbnail."):
		return token.ScopePoster
	}
	return token.ScopeAll
}
