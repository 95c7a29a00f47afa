package api

import (
	"net/http"
	"strconv"
	"time"

	"github.com/sealcast/sealcast/internal/access"
)

const unknownRevocation = "revocation_not_found"

type newRevocation struct {
	Kind         string     `json:"kind"`
	Value        string     `json:"value"`
	IssuedBefore *time.Time `json:"issued_before"`
	ExpiresAt    *time.Time `json:"expires_at"`
	Reason       string     `json:"reason"`
}

type wireRevocation struct {
	ID           int64      `json:"id"`
	Kind         string     `json:"kind"`
	Value        string     `json:"value"`
	IssuedBefore *time.Time `json:"issued_before"`
	ExpiresAt    *time.Time `json:"expires_at"`
	Reason       string     `json:"reason"`
	CreatedAt    time.Time  `json:"created_at"`
}

func wireOfRevocation(r access.Revocation) wireRevocation {
	return wireRevocation{
		ID: r.ID, Kind: r.Kind, Value: r.Value, IssuedBefore: utc(r.IssuedBefore), ExpiresAt: utc(r.ExpiresAt),
		Reason: r.Reason, CreatedAt: r.CreatedAt.UTC(),
	}
}

// everywhere lets only an API key of all environments pass: a user or a tag
// belongs to none.
func everywhere(r *http.Request) error {
	if exchangeOf(r).caller.Environment != access.EnvironmentAll {
		return environmentProblem()
	}
	return nil
}

// postRevocation ends tokens on every node within two seconds.
func (s *server) postRevocation(w http.ResponseWriter, r *http.Request) error {
	if err := everywhere(r); err != nil {
		return err
	}
	var body newRevocation
	if err := decodeBody(r, &body); err != nil {
		return err
	}
	if body.Kind == access.RevokeAll && body.IssuedBefore == nil {
		now := time.Now()
		body.IssuedBefore = &now
	}
	made, err := s.Admin.Revoke(r.Context(), access.Revocation{
		Kind: body.Kind, Value: body.Value, IssuedBefore: body.IssuedBefore, ExpiresAt: body.ExpiresAt, Reason: body.Reason,
	}, actor(r))
	if err != nil {
		return s.adminError(r, err, unknownRevocation)
	}
	return writeJSON(w, http.StatusCreated, wireOfRevocation(made))
}

func (s *server) listRevocations(w http.ResponseWriter, r *http.Request) error {
	if err := everywhere(r); err != nil {
		return err
	}
	_, after, limit, err := page(r.URL.RawQuery)
	if err != nil {
		return err
	}
	var below int64
	if after.ID != "" {
		if below, err = strconv.ParseInt(after.ID, 10, 64); err != nil {
			return invalidRequest("cursor: want next_cursor of the page before, as it was")
		}
	}
	found, err := s.Admin.Revocations(r.Context(), below, limit+1)
	if err != nil {
		return s.adminError(r, err, unknownRevocation)
	}
	out := struct {
		Revocations []wireRevocation `json:"revocations"`
		NextCursor  *string          `json:"next_cursor"`
	}{Revocations: []wireRevocation{}}
	if len(found) > limit {
		found = found[:limit]
		out.NextCursor = nextCursor(true, found[limit-1].CreatedAt, strconv.FormatInt(found[limit-1].ID, 10))
	}
	for _, one := range found {
		out.Revocations = append(out.Revocations, wireOfRevocation(one))
	}
	return writeJSON(w, http.StatusOK, out)
}

// deleteRevocation lifts one: what it ended is believed again.
func (s *server) deleteRevocation(w http.ResponseWriter, r *http.Request) error {
	if err := everywhere(r); err != nil {
		return err
	}
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil {
		return s.adminError(r, access.ErrNotFound, unknownRevocation)
	}
	if err := s.Admin.Lift(r.Context(), id, actor(r)); err != nil {
		return s.adminError(r, err, unknownRevocation)
	}
	return noContent(w)
}
