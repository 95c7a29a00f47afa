package api

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"

	"github.com/sealcast/sealcast/internal/access"
)

func loadSpec(t testing.TB) *openapi3.T {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromFile("openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(context.Background()); err != nil {
		t.Fatal(err)
	}
	return doc
}

// checkSpec replays an answer against openapi.yaml.
func (r *rig) checkSpec(req *http.Request, rawPath string, a answer) {
	r.t.Helper()
	template, ok := specPath(rawPath)
	if !ok {
		if a.code() == "" {
			r.t.Errorf("%s %s: %d for a path that openapi.yaml does not have", req.Method, rawPath, a.StatusCode)
		}
		return
	}
	item := r.spec.Paths.Value(template)
	op := item.GetOperation(req.Method)
	if op == nil { // HEAD, and what is answered with 405
		op = item.Get
		if op == nil {
			op = item.Post
		}
		if op == nil {
			op = item.Delete
		}
	}
	input := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{
			Request: req, Route: &routers.Route{Spec: r.spec, Path: template, PathItem: item, Method: req.Method, Operation: op},
		},
		Status: a.StatusCode, Header: a.Header,
		Options: &openapi3filter.Options{IncludeResponseStatus: true},
	}
	input.SetBodyBytes(a.body)
	if err := openapi3filter.ValidateResponse(context.Background(), input); err != nil {
		r.t.Errorf("%s %s: %d is not as openapi.yaml says: %v", req.Method, rawPath, a.StatusCode, err)
	}
}

func specPath(path string) (string, bool) {
	segments := strings.Split(strings.TrimPrefix(path, "/"), "/")
	switch {
	case path == "/healthz", path == "/readyz", path == "/api/jobs", path == "/api/media":
		return path, true
	case len(segments) == 3 && strings.HasPrefix(path, "/api/key/"):
		return "/api/key/{hash}", true
	case len(segments) == 4 && strings.HasPrefix(path, "/api/license/clearkey/"):
		return "/api/license/clearkey/{hash}", true
	case len(segments) == 4 && segments[3] == "events" && strings.HasPrefix(path, "/api/jobs/"):
		return "/api/jobs/{id}/events", true
	case len(segments) == 4 && strings.HasPrefix(path, "/api/media/") && segments[3] == "tracks":
		return "/api/media/{hash}/tracks", true
	case len(segments) == 5 && strings.HasPrefix(path, "/api/media/") && segments[3] == "tracks":
		return "/api/media/{hash}/tracks/{lang}", true
	case len(segments) == 4 && segments[3] == "repackage" && strings.HasPrefix(path, "/api/media/"):
		return "/api/media/{hash}/repackage", true
	case len(segments) == 4 && strings.HasPrefix(path, "/api/media/") && segments[3] == "parts":
		return "/api/media/{hash}/parts", true
	case len(segments) == 6 && strings.HasPrefix(path, "/api/media/") && segments[5] == "retry":
		return "/api/media/{hash}/parts/{kind}/retry", true
	case len(segments) == 3 && strings.HasPrefix(path, "/api/media/"):
		return "/api/media/{hash}", true
	case len(segments) == 3 && segments[2] != "" && strings.HasPrefix(path, "/api/jobs/"):
		return "/api/jobs/{id}", true
	case len(segments) == 4 && strings.HasPrefix(path, "/api/jobs/") && segments[3] == "webhooks":
		return "/api/jobs/{id}/webhooks", true
	case len(segments) == 6 && strings.HasPrefix(path, "/api/jobs/") && segments[5] == "redeliver":
		return "/api/jobs/{id}/webhooks/{delivery}/redeliver", true
	case len(segments) == 4 && strings.HasPrefix(path, "/api/jobs/") && (segments[3] == "cancel" || segments[3] == "retry"):
		return "/api/jobs/{id}/" + segments[3], true
	case strings.HasPrefix(path, "/v1/p/") && len(segments) == 4 && slices.Contains([]string{"key", "license", "session"}, segments[3]):
		return "/v1/p/{pk}/" + segments[3], true
	case strings.HasPrefix(path, "/v1/p/") && len(segments) == 6 && segments[3] == "t" && (segments[5] == "key" || segments[5] == "license"):
		return "/v1/p/{pk}/t/{token}/" + segments[5], true
	case strings.HasPrefix(path, "/v1/p/") && len(segments) >= 6 && segments[3] == "t":
		return "/v1/p/{pk}/t/{token}/{path}", true
	case strings.HasPrefix(path, "/v1/p/") && len(segments) >= 4:
		return "/v1/p/{pk}/{path}", true
	case strings.HasPrefix(path, "/video/key/") && len(segments) == 3:
		return "/video/key/{id}", true
	case strings.HasPrefix(path, "/v1/video/playback/key/") && len(segments) == 6:
		return "/v1/video/playback/key/{token}/{id}", true
	case strings.HasPrefix(path, "/v1/") && len(segments) == 3 && segments[2] == "master.m3u8":
		return "/v1/{pk}/master.m3u8", true
	case len(segments) == 2 && (segments[0] == "watch" || segments[0] == "embed"):
		return "/" + segments[0] + "/{pk}", true
	case len(segments) == 2 && segments[0] == "player":
		return "/player/{file}", true
	case path == "/console":
		return path, true
	case len(segments) >= 2 && len(segments) <= 4 && segments[0] == "api" && slices.Contains(access.Resources[2:], segments[1]) && !strings.HasSuffix(path, "/"): // jobs and media stand above
		template := "/api/" + segments[1]
		switch {
		case path == "/api/tokens/inspect":
			return path, true
		case len(segments) > 2 && segments[1] == "signing-keys":
			template += "/{kid}"
		case len(segments) > 2:
			template += "/{id}"
		}
		if len(segments) > 3 {
			template += "/" + segments[3]
		}
		return template, true
	case len(segments) >= 3 && strings.HasPrefix(path, "/stream/"):
		return "/stream/{hash}/{path}", true
	}
	return "", false
}

func init() {
	for _, kind := range []string{
		"application/vnd.apple.mpegurl", "application/dash+xml", "video/mp4", "video/iso.segment", "video/mp2t", "audio/mp4", "image/jpeg",
		"image/webp", "image/gif", "image/png", "text/vtt", "text/html", "text/css", "text/javascript",
		"text/event-stream",
	} {
		openapi3filter.RegisterBodyDecoder(kind, openapi3filter.FileBodyDecoder)
	}
}
