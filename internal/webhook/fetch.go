package webhook

import (
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
)

// Fetch gets the body, of at most most bytes, that a URL from outside answers
// with status 200. It goes where webhooks go and nowhere else, follows no
// redirect and uses no proxy. roots may be nil: the system's.
func (t *Targets) Fetch(ctx context.Context, raw string, most int64, roots *x509.CertPool) ([]byte, error) {
	if err := t.CheckURL(raw); err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, raw, nil)
	if err != nil {
		return nil, refuse("is no URL")
	}
	req.Header.Set("Accept", "application/jwk-set+json, application/json")
	req.Header.Set("User-Agent", "sealcast")
	res, err := t.transport(roots).RoundTrip(req) // unlike a http.Client it follows nothing
	if err != nil {
		return nil, fmt.Errorf("fetch: %w", err)
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("fetch: the answer has the status %d, want 200", res.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, most+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("fetch: %w", err)
	case int64(len(body)) > most:
		return nil, fmt.Errorf("fetch: the answer has more than %d bytes", most)
	}
	return body, nil
}
