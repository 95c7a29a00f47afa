package api

import (
	"net/http"
	"time"

	"github.com/sealcast/sealcast/internal/access"
	"github.com/sealcast/sealcast/internal/cenc"
)

const unknownPlaybackKey = "playback_key_not_found"

// wirePolicy are the members of a playback key that can be changed.
type wirePolicy struct {
	Label          string     `json:"label"`
	Status         string     `json:"status"`
	Private        bool       `json:"private"`
	Hosts          []string   `json:"hosts"`
	AllowNoReferer bool       `json:"allow_no_referer"`
	IPs            []string   `json:"ips"`
	Downloads      bool       `json:"downloads"`
	NotBefore      *time.Time `json:"not_before"`
	NotAfter       *time.Time `json:"not_after"`
	MaxTTL         *int64     `json:"max_ttl"` // seconds
}

type newPlaybackKey struct {
	ID             string     `json:"id"`
	Hash           string     `json:"hash"`
	Environment    string     `json:"environment"`
	Label          string     `json:"label"`
	Private        bool       `json:"private"`
	Hosts          []string   `json:"hosts"`
	AllowNoReferer bool       `json:"allow_no_referer"`
	IPs            []string   `json:"ips"`
	Downloads      bool       `json:"downloads"`
	NotBefore      *time.Time `json:"not_before"`
	NotAfter       *time.Time `json:"not_after"`
	MaxTTL         *int64     `json:"max_ttl"`
}

type wirePlaybackKey struct {
	ID          string `json:"id"`
	Hash        string `json:"hash"`
	Environment string `json:"environment"`
	wirePolicy
	CreatedAt time.Time  `json:"created_at"`
	UpdatedAt time.Time  `json:"updated_at"`
	RevokedAt *time.Time `json:"revoked_at"`
}

func policyOf(k access.PlaybackKey) wirePolicy {
	w := wirePolicy{
		Label: k.Label, Status: k.Status, Private: k.Private, Hosts: noNil(k.Hosts), AllowNoReferer: k.AllowNoReferer,
		IPs: formatPrefixes(k.IPs), Downloads: k.Downloads, NotBefore: utc(k.NotBefore), NotAfter: utc(k.NotAfter),
	}
	if k.MaxTTL > 0 {
		n := int64(k.MaxTTL / time.Second)
		w.MaxTTL = &n
	}
	return w
}

func wireOfPlaybackKey(k access.PlaybackKey) wirePlaybackKey {
	return wirePlaybackKey{
		ID: k.ID, Hash: k.Hash, Environment: k.Environment, wirePolicy: policyOf(k),
		CreatedAt: k.CreatedAt.UTC(), UpdatedAt: k.UpdatedAt.UTC(), RevokedAt: utc(k.RevokedAt),
	}
}

// apply takes the members over.
func (w wirePolicy) apply(k *access.PlaybackKey) (err error) {
	k.Label, k.Status = w.Label, w.Status
	k.Private, k.AllowNoReferer, k.Downloads, k.NotBefore, k.NotAfter = w.Private, w.AllowNoReferer, w.Downloads, w.NotBefore, w.NotAfter
	if k.Hosts, err = parseHosts("hosts", w.Hosts); err != nil {
		return err
	}
	if k.IPs, err = parsePrefixes("ips", w.IPs); err != nil {
		return err
	}
	ttl, ok := seconds(w.MaxTTL)
	if !ok {
		return invalidRequest("max_ttl: want 1 to 31536000 seconds, or null")
	}
	k.MaxTTL = ttl
	return nil
}

// postPlaybackKey makes a playback key; private unless it says otherwise. The
// titles are of this installation's environment: who is not in it opens none.
func (s *server) postPlaybackKey(w http.ResponseWriter, r *http.Request) error {
	body := newPlaybackKey{Environment: s.Environment, Private: true}
	if err := decodeBody(r, &body); err != nil {
		return err
	}
	k := access.PlaybackKey{ID: body.ID, Hash: body.Hash, Environment: body.Environment}
	policy := wirePolicy{
		Label: body.Label, Status: access.StatusActive, Private: body.Private, Hosts: body.Hosts, AllowNoReferer: body.AllowNoReferer,
		IPs: body.IPs, Downloads: body.Downloads, NotBefore: body.NotBefore, NotAfter: body.NotAfter, MaxTTL: body.MaxTTL,
	}
	if err := policy.apply(&k); err != nil {
		return err
	}
	if caller := exchangeOf(r).caller; !caller.In(k.Environment) || !caller.In(s.Environment) {
		return environmentProblem()
	}
	k, err := s.Admin.CreatePlaybackKey(r.Context(), k, actor(r))
	if err != nil {
		return s.adminError(r, err, unknownPlaybackKey)
	}
	w.Header().Set("Location", s.BaseURL+"/api/playback-keys/"+k.ID)
	return writeJSON(w, http.StatusCreated, wireOfPlaybackKey(k))
}

// playbackKey reads the one that the path names, if the caller may see it.
func (s *server) playbackKey(r *http.Request) (access.PlaybackKey, error) {
	k, err := s.Admin.PlaybackKey(r.Context(), r.PathValue("id"))
	if err == nil && !exchangeOf(r).caller.In(k.Environment) {
		err = access.ErrNotFound
	}
	return k, s.adminError(r, err, unknownPlaybackKey)
}

func (s *server) getPlaybackKey(w http.ResponseWriter, r *http.Request) error {
	k, err := s.playbackKey(r)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, wireOfPlaybackKey(k))
}

// patchPlaybackKey changes what the body has and leaves the rest.
func (s *server) patchPlaybackKey(w http.ResponseWriter, r *http.Request) error {
	k, err := s.playbackKey(r)
	if err != nil {
		return err
	}
	body, err := readJSON(r)
	if err != nil {
		return err
	}
	k, err = s.Admin.UpdatePlaybackKey(r.Context(), k.ID, actor(r), func(k *access.PlaybackKey) error {
		policy := policyOf(*k)
		if err := decodeObject(body, &policy); err != nil {
			return err
		}
		return policy.apply(k)
	})
	if err != nil {
		return s.adminError(r, err, unknownPlaybackKey)
	}
	return writeJSON(w, http.StatusOK, wireOfPlaybackKey(k))
}

func (s *server) deletePlaybackKey(w http.ResponseWriter, r *http.Request) error {
	k, err := s.playbackKey(r)
	if err != nil {
		return err
	}
	if err := s.Admin.RevokePlaybackKey(r.Context(), k.ID, actor(r)); err != nil {
		return s.adminError(r, err, unknownPlaybackKey)
	}
	return noContent(w)
}

// listPlaybackKeys gives one page, newest first.
func (s *server) listPlaybackKeys(w http.ResponseWriter, r *http.Request) error {
	values, after, limit, err := page(r.URL.RawQuery, "hash")
	if err != nil {
		return err
	}
	if hash, given := values["hash"]; given && !cenc.IsHash(hash) {
		return invalidRequest("hash: want 64 lower-case hex digits")
	}
	f := access.PlaybackFilter{Hash: values["hash"], After: after, Limit: limit + 1}
	if env := exchangeOf(r).caller.Environment; env != access.EnvironmentAll {
		f.Environment = env
	}
	keys, err := s.Admin.PlaybackKeys(r.Context(), f)
	if err != nil {
		return s.adminError(r, err, unknownPlaybackKey)
	}
	out := struct {
		PlaybackKeys []wirePlaybackKey `json:"playback_keys"`
		NextCursor   *string           `json:"next_cursor"`
	}{PlaybackKeys: []wirePlaybackKey{}}
	if more := len(keys) > limit; more {
		keys = keys[:limit]
		out.NextCursor = nextCursor(more, keys[limit-1].CreatedAt, keys[limit-1].ID)
	}
	for _, k := range keys {
		out.PlaybackKeys = append(out.PlaybackKeys, wireOfPlaybackKey(k))
	}
	return writeJSON(w, http.StatusOK, out)
}
