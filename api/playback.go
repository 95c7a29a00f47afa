package api

import (
	"encoding/json"
	"errors"
	"net/http"
	"path"
	"strings"
	"time"
)

const playbackName = "playback.json"

// playbackOutput is one way to play a title. Addresses are relative to the
// folder of the playback key.
type playbackOutput struct {
	Name           string  `json:"name"`
	MasterPlaylist string  `json:"master_playlist"`
	Manifest       *string `json:"manifest"`
	Scheme         *string `json:"scheme"` // null: clear
	Container      string  `json:"container"`
}

type playbackToken struct {
	ExpiresAt time.Time `json:"expires_at"`
	Scopes    []string  `json:"scopes"` // empty: all playback
}

// playback tells a player page what there is to play, and how long its token is
// good for.
func (d *delivery) playback(w http.ResponseWriter, r *http.Request) error {
	asset, err := d.Assets.Get(r.Context(), d.grant.Hash)
	switch {
	case errors.Is(err, ErrNotFound), err == nil && asset.Generation == 0:
		return notPublished()
	case err != nil:
		return d.assetError(r, err)
	}
	answer := struct {
		PlaybackKey string           `json:"playback_key"`
		Encrypted   bool             `json:"encrypted"`
		Duration    float64          `json:"duration_seconds"`
		Outputs     []playbackOutput `json:"outputs"`
		Poster      *string          `json:"poster"`
		Storyboard  *string          `json:"storyboard"`
		Token       *playbackToken   `json:"token"` // null: none is needed
	}{PlaybackKey: r.PathValue("pk"), Encrypted: asset.Encrypted}
	answer.Outputs, answer.Duration, err = playbackOutputs(asset)
	if err != nil {
		return internalError(err)
	}
	for name, into := range map[string]**string{posterName: &answer.Poster, storyboardName: &answer.Storyboard} {
		_, _, err := d.find(r, name)
		var p *Problem
		switch {
		case err == nil:
			*into = &name
		case errors.As(err, &p) && p.Status == http.StatusNotFound:
		default:
			return err
		}
	}
	if !d.grant.Anonymous {
		answer.Token = &playbackToken{d.grant.ExpiresAt.UTC(), append([]string{}, d.grant.Audience...)}
	}
	return writeJSON(w, http.StatusOK, answer)
}

// playbackOutputs reads the outputs from the results of the job that made the
// publication: their addresses, made relative.
func playbackOutputs(asset Asset) ([]playbackOutput, float64, error) {
	var results struct {
		Duration  float64 `json:"duration_seconds"`
		Streaming struct {
			Outputs []playbackOutput `json:"outputs"`
		} `json:"streaming"`
	}
	if err := json.Unmarshal(asset.Results, &results); err != nil {
		return nil, 0, err
	}
	out := []playbackOutput{}
	for _, o := range results.Streaming.Outputs {
		if o.MasterPlaylist = relativeEntry(o.MasterPlaylist, asset.Hash); o.MasterPlaylist == anyMaster {
			o.MasterPlaylist = cmafMaster
		}
		if o.Manifest != nil {
			relative := relativeEntry(*o.Manifest, asset.Hash)
			o.Manifest = &relative
		}
		if o.Scheme != nil && *o.Scheme == "" {
			o.Scheme = nil
		}
		out = append(out, o)
	}
	return out, results.Duration, nil
}

// relativeEntry makes the address of an entry document relative to the folder
// of its title.
func relativeEntry(address, hash string) string {
	if _, rest, ok := strings.Cut(address, "/stream/"+hash+"/"); ok {
		return rest
	}
	return path.Base(address)
}
