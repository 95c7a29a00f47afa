package api

import (
	"fmt"
	"slices"
	"testing"
)

// TestActsOfAccessAreOnRecord: each change of who may watch or administer has an
// entry with what was changed and who asked.
func TestActsOfAccessAreOnRecord(t *testing.T) {
	t.Parallel()
	g := newGateRig(t, accessDatabase(t))
	g.admin("POST", "/api/playback-keys", map[string]any{"hash": hashA, "id": "film-1"}, 201)
	g.admin("PATCH", "/api/playback-keys/film-1", map[string]any{"label": "Film"}, 200)
	minted := g.admin("POST", "/api/playback-keys/film-1/tokens", map[string]any{"tag": "press"}, 201)
	revoked := g.admin("POST", "/api/revocations", map[string]any{"kind": "tag", "value": "press"}, 201)
	id := fmt.Sprintf("%.0f", revoked["id"])
	g.admin("DELETE", "/api/revocations/"+id, nil, 204)
	g.admin("DELETE", "/api/playback-keys/film-1", nil, 204)
	g.admin("POST", "/api/signing-keys", map[string]any{"kid": "app"}, 201)
	g.admin("DELETE", "/api/signing-keys/app", nil, 204)
	key := g.admin("POST", "/api/api-keys", map[string]any{"scopes": []string{"jobs:read"}}, 201)["id"].(string)
	g.admin("DELETE", "/api/api-keys/"+key, nil, 204)

	rows, err := g.pool.Query(t.Context(), `SELECT action || ' ' || subject || ' ' || (actor <> '' AND details ? 'request_id' AND details ? 'client') FROM audit_log ORDER BY id`)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			t.Fatal(err)
		}
		got = append(got, line)
	}
	want := []string{
		"playback_key.create film-1 true", "playback_key.update film-1 true", "token.mint " + minted["id"].(string) + " true",
		"token.revoke tag press true", "token.lift " + id + " true", "playback_key.revoke film-1 true",
		"signing_key.create app true", "signing_key.revoke app true", "api_key.create " + key + " true", "api_key.revoke " + key + " true",
	}
	if !slices.Equal(got, want) {
		t.Errorf("on record:\n%q, want\n%q", got, want)
	}
}
