package api

import (
	"context"
	"errors"
	"net/http"

	"github.com/sealcast/sealcast/internal/access"
)

// Pages are the player page and the console.
type Pages interface {
	Watch(http.ResponseWriter, *http.Request)
	Embed(w http.ResponseWriter, r *http.Request, hosts []string) // that may embed it; none: all
	Console(http.ResponseWriter, *http.Request)
	File(w http.ResponseWriter, r *http.Request, name string) bool // what they load; false: no such file
}

// Embeds says who may embed; access.Gate has it.
type Embeds interface {
	// PlaybackKey is access.ErrNotFound for one that does not exist.
	PlaybackKey(ctx context.Context, id string) (access.PlaybackKey, error)
}

// getWatch serves the player page. It holds no secret and is the same for every
// playback key, so it asks for none: its own requests do.
func (s *server) getWatch(w http.ResponseWriter, r *http.Request) error {
	if s.Pages == nil || !isPlaybackKey(r.PathValue("pk")) {
		return notFound()
	}
	s.Pages.Watch(w, r)
	return nil
}

func (s *server) getConsole(w http.ResponseWriter, r *http.Request) error {
	if s.Pages == nil {
		return notFound()
	}
	s.Pages.Console(w, r)
	return nil
}

func (s *server) getPageFile(w http.ResponseWriter, r *http.Request) error {
	if s.Pages == nil || !s.Pages.File(w, r, r.PathValue("file")) {
		return notFound()
	}
	return nil
}

// getEmbed serves the player page for the pages that the playback key's policy
// allows around it. One that is not there has the same page: its requests say so.
func (s *server) getEmbed(w http.ResponseWriter, r *http.Request) error {
	pk := r.PathValue("pk")
	if s.Pages == nil || !isPlaybackKey(pk) {
		return notFound()
	}
	k, err := s.Embeds.PlaybackKey(r.Context(), pk)
	if err != nil && !errors.Is(err, access.ErrNotFound) {
		s.metrics.failed(r, depPostgres)
		return unavailable(err)
	}
	s.Pages.Embed(w, r, k.Hosts)
	return nil
}
