package api

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/sealcast/sealcast/internal/cenc"
)

// Asset is a title as its owner sees it. Generation is 0 while nothing of it
// is published.
type Asset struct {
	Hash        string
	ExternalID  string // empty: none
	Private     bool
	CreatedAt   time.Time
	Generation  int
	Encrypted   bool
	JobID       string
	PublishedAt *time.Time
	Results     json.RawMessage // of the job that made the publication
}

// AssetPosition is an asset's place in the list.
type AssetPosition struct {
	CreatedAt time.Time
	Hash      string
}

// PolicyChange is what a PATCH changes; nil: nothing.
type PolicyChange struct {
	Private    *bool
	ExternalID *string // empty: none any more
}

type wireAsset struct {
	Hash        string          `json:"hash"`
	ExternalID  *string         `json:"external_id"`
	Private     bool            `json:"private"`
	Published   bool            `json:"published"`
	Encrypted   bool            `json:"encrypted"`
	Generation  int             `json:"generation"`
	JobID       *string         `json:"job_id"`
	CreatedAt   time.Time       `json:"created_at"`
	PublishedAt *time.Time      `json:"published_at"`
	Results     json.RawMessage `json:"results"`
}

func (a Asset) wire() wireAsset {
	w := wireAsset{
		Hash: a.Hash, Private: a.Private, Published: a.Generation > 0, Encrypted: a.Encrypted, Generation: a.Generation,
		CreatedAt: a.CreatedAt.UTC(), PublishedAt: a.PublishedAt, Results: a.Results,
	}
	if a.ExternalID != "" {
		w.ExternalID = &a.ExternalID
	}
	if a.JobID != "" {
		w.JobID = &a.JobID
	}
	return w
}

func (s *server) assetError(r *http.Request, err error) error {
	var p *Problem
	switch {
	case errors.As(err, &p):
		return p
	case errors.Is(err, ErrNotFound):
		return assetNotFound()
	}
	s.metrics.failed(r, depPostgres)
	return unavailable(err)
}

// getAsset shows an asset, published or not.
func (s *server) getAsset(w http.ResponseWriter, r *http.Request) error {
	hash := r.PathValue("hash")
	if !cenc.IsHash(hash) {
		return assetNotFound()
	}
	a, err := s.Assets.Get(r.Context(), hash)
	if err != nil {
		return s.assetError(r, err)
	}
	return writeJSON(w, http.StatusOK, a.wire())
}

// patchAsset changes the policy of an asset. It holds on every node for the
// next request, or after entryCacheTTL.
func (s *server) patchAsset(w http.ResponseWriter, r *http.Request) error {
	hash := r.PathValue("hash")
	if !cenc.IsHash(hash) {
		return assetNotFound()
	}
	body, err := readJSON(r)
	if err != nil {
		return err
	}
	change, err := parsePolicyChange(body)
	if err != nil {
		return err
	}
	a, err := s.Assets.SetPolicy(r.Context(), hash, change, callerOf(r))
	if err != nil {
		return s.assetError(r, err)
	}
	return writeJSON(w, http.StatusOK, a.wire())
}

// parsePolicyChange takes exact names. null takes an external id away.
func parsePolicyChange(body []byte) (PolicyChange, error) {
	var c PolicyChange
	members, err := parseObject(body)
	if err != nil {
		return c, err
	}
	if len(members) == 0 {
		return c, invalidRequest("there is nothing to change: want private, external_id or both")
	}
	for name, raw := range members {
		switch name {
		case "private":
			if err := json.Unmarshal(raw, &c.Private); err != nil || c.Private == nil {
				return c, invalidRequest("private: want true or false")
			}
		case "external_id":
			if err := json.Unmarshal(raw, &c.ExternalID); err != nil {
				return c, invalidRequest("external_id: want a text, or null for none")
			}
			if c.ExternalID == nil {
				c.ExternalID = new(string)
			} else if *c.ExternalID == "" {
				return c, invalidRequest("external_id: want a text, or null for none")
			}
		default:
			return c, invalidRequest(fmt.Sprintf("unknown field %q", shorten(name)))
		}
	}
	return c, nil
}

// listAssets gives one page of published assets, newest first.
func (s *server) listAssets(w http.ResponseWriter, r *http.Request) error {
	after, limit, err := parseAssetPage(r.URL.RawQuery)
	if err != nil {
		return err
	}
	list, err := s.Assets.List(r.Context(), after, limit+1) // one more tells whether there is a next page
	if err != nil {
		return s.assetError(r, err)
	}
	page := struct {
		Assets     []wireAsset `json:"assets"`
		NextCursor *string     `json:"next_cursor"`
	}{Assets: []wireAsset{}}
	if len(list) > limit {
		list = list[:limit]
		last := list[limit-1]
		cursor := base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "1 %d %s", last.CreatedAt.UnixMicro(), last.Hash))
		page.NextCursor = &cursor
	}
	for _, a := range list {
		page.Assets = append(page.Assets, a.wire())
	}
	return writeJSON(w, http.StatusOK, page)
}

func parseAssetPage(rawQuery string) (after *AssetPosition, limit int, err error) {
	limit = defaultPage
	query, err := url.ParseQuery(rawQuery)
	if err != nil {
		return nil, 0, invalidRequest("the query is malformed")
	}
	for name, values := range query {
		if len(values) > 1 {
			return nil, 0, invalidRequest(fmt.Sprintf("%s: stands there twice", shorten(name)))
		}
		switch name {
		case "limit":
			if limit, err = strconv.Atoi(values[0]); err != nil || limit < 1 || limit > maxPage {
				return nil, 0, invalidRequest(fmt.Sprintf("limit: want a whole number from 1 to %d", maxPage))
			}
		case "cursor":
			if after, err = parseAssetCursor(values[0]); err != nil {
				return nil, 0, err
			}
		default:
			return nil, 0, invalidRequest(fmt.Sprintf("unknown parameter %q", shorten(name)))
		}
	}
	return after, limit, nil
}

func parseAssetCursor(s string) (*AssetPosition, error) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(s)
	version, rest, _ := strings.Cut(string(raw), " ")
	micros, hash, _ := strings.Cut(rest, " ")
	n, numErr := strconv.ParseInt(micros, 10, 64)
	if err != nil || numErr != nil || version != "1" || n < 0 || n > maxMicros || !cenc.IsHash(hash) {
		return nil, invalidRequest("cursor: want next_cursor of the page before, as it was")
	}
	return &AssetPosition{time.UnixMicro(n).UTC(), hash}, nil
}
