// Package api is sealcast's slim HTTP API: jobs, content keys and published
// media. A handler returns an error, problem.go alone turns it into an answer.
// openapi.yaml is the contract; the tests hold every real answer against it.
package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/sealcast/sealcast/internal/access"
	"github.com/sealcast/sealcast/internal/cenc"
	"github.com/sealcast/sealcast/keystore"
	"github.com/sealcast/sealcast/token"
)

// Config wires the API. All members are required but BaseURL, CORSOrigins,
// TrustedProxies and Redis.
type Config struct {
	BaseURL        string         // public origin without a trailing slash, for Location; empty: Location is a path
	APIKey         APIKey         // opens the job routes
	CORSOrigins    []string       // "https://host[:port]" or, with any port, "http://127.0.0.1:*"
	TrustedProxies []netip.Prefix // whose X-Forwarded-For is believed

	Gate         Gate
	Admin        Admin
	Environment  string // development, staging or production: of jobs, assets and new playback keys
	Keys         Keys
	Audit        Audit
	Jobs         JobService
	Webhooks     Webhooks
	Assets       Assets
	Tracks       Tracks
	Publications Publications
	Objects      Objects
	Originals    Originals // nil: sources are no downloads
	Pages        Pages     // nil: no player page, no console
	Embeds       Embeds    // needed with Pages

	KeysPerToken  int           // key requests per minute and verified token
	KeysPerClient int           // key requests per minute and client address
	Redis         *redis.Client // shares the limits; nil, or away: each process limits by itself
	EventStreams  int           // that may be open at once

	Ready    map[string]func(context.Context) error // dependencies by name, for /readyz
	Registry prometheus.Registerer
	Log      *slog.Logger

	eventPoll, heartbeat time.Duration // for tests; zero: the default
}

// ErrNotFound says that a job, asset, publication or object does not exist.
var ErrNotFound = errors.New("not found")

// ErrObjectStore says that the object store did not answer.
var ErrObjectStore = errors.New("object store did not answer")

// Keys gives content keys to viewers; keystore.Store has it. An error other
// than keystore.ErrNotFound and keystore.ErrIntegrity is answered with 503.
type Keys interface {
	Served(ctx context.Context, hash string, kid *cenc.KID) (keystore.Key, error)
}

// Gate decides who may watch; access.Gate has it.
type Gate interface {
	// Authorize holds a token against what a path names. Its error is a
	// token.Error, access.ErrTokenRequired or access.ErrNotFound; every other one
	// is answered with 503.
	Authorize(context.Context, access.Request) (access.Grant, error)
	// Session makes the token, form S, that stands for a grant in paths and
	// cookies: the same each time; "" for a grant without a token.
	Session(access.Grant) (string, error)
}

// JobService submits and shows jobs. What the client shall read is a *Problem;
// an unknown id is ErrNotFound; every other error is answered with 503.
type JobService interface {
	Submit(context.Context, JobRequest) (job Job, created bool, err error)
	Get(ctx context.Context, id string) (Job, error)
	List(context.Context, JobFilter) ([]Job, error)           // newest first
	GetMany(ctx context.Context, ids []string) ([]Job, error) // those that there are, in any order

	// Cancel ends a queued or running job; done is false if it was cancelled before.
	Cancel(ctx context.Context, id string, by Caller) (job Job, done bool, err error)
	// Retry queues a failed or cancelled job again.
	Retry(ctx context.Context, id string, by Caller) (Job, error)
	// Repackage queues a job that makes an asset's next generation with new
	// content keys, or gives the one that does so already.
	Repackage(ctx context.Context, hash string, by Caller) (Job, error)
	// RetryPart does so with the job of a part that was asked for last; ErrNotFound when there is none.
	RetryPart(ctx context.Context, hash, kind, name string, by Caller) (Job, error)
}

// Publications looks published generations up. Nothing there is ErrNotFound.
type Publications interface {
	Entry(ctx context.Context, hash string) (Entry, error)
	// Object gives the first of the names that is there, by one look.
	Object(ctx context.Context, hash, prefix string, names ...string) (Object, error)
	// PartObject finds an object of the current parts by its name alone and
	// gives its prefix.
	PartObject(ctx context.Context, hash, name string) (prefix string, err error)
}

// Entry is the published generation of an asset, with its current parts, or
// what a running attempt shows of an asset that has none.
type Entry struct {
	Prefix     string // of its object keys: stream/<hash>/<prefix>/<name>
	Generation int    // 0: nothing is published
	Encrypted  bool
	Private    bool // /stream/{hash} has nothing of it
	Parts      []Part
}

// Part is what belongs to an asset beside its film: a cover, a storyboard.
type Part struct {
	Kind, Name string
	Prefix     string // of its object keys
	JobID      string // of the job that made it
	At         time.Time
	Facts      json.RawMessage // an object, of each kind its own
}

// Object is an entry of a publication's inventory.
type Object struct {
	Name        string // relative to the prefix
	ContentType string
	Size        int64 // bytes
	SHA256      [32]byte
	Encrypted   bool   // of an encrypted title
	Private     bool   // of a private one
	Kind        string // of the part that it belongs to; empty: the film
	Early       bool   // a running attempt shows it, nothing is published
	Body        []byte // of a document that is in no object; else nil
}

// Objects reads n bytes of an object from offset off on.
type Objects interface {
	Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error)
}

// JobRequest is a submission. Payload is the body without its type, to be
// decoded strictly by the one who knows it.
type JobRequest struct {
	Type           string
	Payload        json.RawMessage
	IdempotencyKey string // stands for the job from now on; empty: none
	By             Caller
}

// Job is what clients see of a job.
type Job struct {
	ID, Type, Hash, Source  string
	State, Stage            string
	Progress                float64  // 0 to 100
	ETASeconds              *float64 // nil: unknown
	Attempt                 int
	ErrorCode, ErrorMessage string          // empty: no error
	Results                 json.RawMessage // nil: none yet
	PartKind, PartName      string          // what it makes; empty: a film
	ParentID                string          // the job that asked for it; empty: a request
	Metadata                json.RawMessage // of the client; nil: none
	Parts                   json.RawMessage // a list, of what it asked for beside the film; nil: nothing
	CreatedAt               time.Time
	StartedAt, FinishedAt   *time.Time
}

// server holds what the handlers share.
type server struct {
	Config
	origins origins
	limiter *limiter
	metrics *metrics
	entries *entryCache
	checks  *checks
	hub     *hub

	thumbnails chan struct{} // one for each that is being made
}

// New returns the handler of all routes. Its error lists all faults of the
// configuration.
func New(cfg Config) (http.Handler, error) {
	origins, err := parseOrigins(cfg.CORSOrigins)
	if err := errors.Join(cfg.validate(), err); err != nil {
		return nil, fmt.Errorf("api: %w", err)
	}
	m, err := newMetrics(cfg.Registry)
	if err != nil {
		return nil, fmt.Errorf("api: register metrics: %w", err)
	}
	s := &server{
		Config:  cfg,
		origins: origins,
		metrics: m,
		limiter: newLimiter(cfg.Redis, m, cfg.Log),
		entries: newEntryCache(cfg.Publications),
		checks:  newChecks(cfg.Ready, cfg.Log),
		hub:     newHub(cfg, m),

		thumbnails: make(chan struct{}, thumbnailsBusy),
	}
	if s.heartbeat <= 0 {
		s.heartbeat = defaultHeartbeat
	}
	mux := http.NewServeMux()
	byPath := map[string][]route{}
	for _, r := range s.routes() {
		byPath[r.path] = append(byPath[r.path], r)
	}
	for path, routes := range byPath {
		mux.Handle(path, s.dispatch(routes))
	}
	// Without its own pattern ServeMux would redirect it to the one with a slash.
	mux.Handle("/stream/{hash}", s.dispatch(nil))
	mux.Handle("/", s.dispatch(nil))
	return &handler{s.observe(mux), s.hub.drain}, nil
}

// handler is what New gives: a server from NewServer ends its event streams
// when it shuts down.
type handler struct {
	http.Handler
	endStreams func()
}

const (
	keyPath     = "/api/key/{hash}"
	licencePath = "/api/license/clearkey/{hash}"
	mediaPath   = "/stream/{hash}/{path...}"
)

// route is one row of the route table. Routes of one path share cors, secret and refuse.
type route struct {
	method  string        // GET answers HEAD, too
	path    string        // a pattern of http.ServeMux
	limit   int64         // bytes of the request's body; 0: no body is read
	timeout time.Duration // until the answer is written; 0: the handler sets deadlines as it goes
	quick   bool          // without body and timeout: each wait of the handler has a deadline of its own, and they sum up to less than serverTimeout
	auth    auth
	cors    bool // pages of CORSOrigins may read it
	cookies bool // with their cookies, too
	secret  bool // every answer has the headers of a key reply
	refuse  refusals
	handle  func(http.ResponseWriter, *http.Request) error
}

const adminBody = 64 << 10 // bytes of a request to administer

func (s *server) routes() []route {
	return []route{
		{method: "GET", path: keyPath, quick: true, auth: authToken, cors: true, secret: true, handle: s.getKey},
		{method: "POST", path: licencePath, limit: 4 << 10, timeout: 5 * time.Second, auth: authToken, cors: true, secret: true, handle: s.postLicence},
		{method: "GET", path: "/api/jobs", timeout: 10 * time.Second, auth: authAPIKey, handle: s.listJobs},
		{method: "POST", path: "/api/jobs", limit: 64 << 10, timeout: 15 * time.Second, auth: authAPIKey, handle: s.postJob},
		{method: "GET", path: "/api/jobs/{id}", timeout: 10 * time.Second, auth: authAPIKey, handle: s.getJob},
		{method: "GET", path: webhooksPath, timeout: 10 * time.Second, auth: authAPIKey, handle: s.getWebhooks},
		{method: "POST", path: redeliverPath, timeout: 10 * time.Second, auth: authAPIKey, handle: s.postRedeliver},
		{method: "GET", path: "/api/jobs/{id}/events", auth: authAPIKey, handle: s.getEvents},
		{method: "GET", path: "/api/media", timeout: 10 * time.Second, auth: authAPIKey, handle: s.listAssets},
		{method: "GET", path: "/api/media/{hash}", timeout: 10 * time.Second, auth: authAPIKey, handle: s.getAsset},
		{method: "PATCH", path: "/api/media/{hash}", limit: 4 << 10, timeout: 10 * time.Second, auth: authAPIKey, handle: s.patchAsset},
		{method: "POST", path: "/api/media/{hash}/repackage", timeout: 15 * time.Second, auth: authAPIKey, handle: s.repackage},
		{method: "DELETE", path: "/api/media/{hash}", timeout: 35 * time.Second, auth: authAPIKey, handle: s.deleteMedia},
		{method: "GET", path: tracksPath, timeout: 10 * time.Second, auth: authAPIKey, handle: s.listTracks},
		{method: "PUT", path: trackPath, limit: maxTrackBody, timeout: 15 * time.Second, auth: authAPIKey, handle: s.putTrack},
		{method: "DELETE", path: trackPath, timeout: 10 * time.Second, auth: authAPIKey, handle: s.deleteTrack},
		{method: "GET", path: partsPath, timeout: 10 * time.Second, auth: authAPIKey, handle: s.listParts},
		{method: "POST", path: retryPartPath, timeout: 10 * time.Second, auth: authAPIKey, handle: s.retryPart},
		{method: "POST", path: "/api/jobs/{id}/cancel", timeout: 15 * time.Second, auth: authAPIKey, handle: s.cancelJob},
		{method: "POST", path: "/api/jobs/{id}/retry", timeout: 10 * time.Second, auth: authAPIKey, handle: s.retryJob},
		{method: "GET", path: "/api/playback-keys", timeout: 10 * time.Second, auth: authAPIKey, handle: s.listPlaybackKeys},
		{method: "POST", path: "/api/playback-keys", limit: adminBody, timeout: 10 * time.Second, auth: authAPIKey, handle: s.postPlaybackKey},
		{method: "GET", path: "/api/playback-keys/{id}", timeout: 10 * time.Second, auth: authAPIKey, handle: s.getPlaybackKey},
		{method: "PATCH", path: "/api/playback-keys/{id}", limit: adminBody, timeout: 10 * time.Second, auth: authAPIKey, handle: s.patchPlaybackKey},
		{method: "DELETE", path: "/api/playback-keys/{id}", timeout: 10 * time.Second, auth: authAPIKey, handle: s.deletePlaybackKey},
		{method: "POST", path: "/api/playback-keys/{id}/tokens", limit: adminBody, timeout: 10 * time.Second, auth: authAPIKey, handle: s.postToken},
		{method: "GET", path: "/api/tokens", timeout: 10 * time.Second, auth: authAPIKey, handle: s.listTokens},
		{method: "POST", path: "/api/tokens/inspect", limit: adminBody, timeout: 10 * time.Second, auth: authAPIKey, handle: s.postInspect},
		{method: "GET", path: "/api/signing-keys", timeout: 10 * time.Second, auth: authAPIKey, handle: s.listSigningKeys},
		{method: "POST", path: "/api/signing-keys", limit: adminBody, timeout: 20 * time.Second, auth: authAPIKey, handle: s.postSigningKey},
		{method: "GET", path: "/api/signing-keys/{kid}", timeout: 10 * time.Second, auth: authAPIKey, handle: s.getSigningKey},
		{method: "DELETE", path: "/api/signing-keys/{kid}", timeout: 10 * time.Second, auth: authAPIKey, handle: s.deleteSigningKey},
		{method: "GET", path: "/api/api-keys", timeout: 10 * time.Second, auth: authAPIKey, handle: s.listAPIKeys},
		{method: "POST", path: "/api/api-keys", limit: adminBody, timeout: 10 * time.Second, auth: authAPIKey, handle: s.postAPIKey},
		{method: "DELETE", path: "/api/api-keys/{id}", timeout: 10 * time.Second, auth: authAPIKey, handle: s.deleteAPIKey},
		{method: "GET", path: "/api/revocations", timeout: 10 * time.Second, auth: authAPIKey, handle: s.listRevocations},
		{method: "POST", path: "/api/revocations", limit: adminBody, timeout: 10 * time.Second, auth: authAPIKey, handle: s.postRevocation},
		{method: "DELETE", path: "/api/revocations/{id}", timeout: 10 * time.Second, auth: authAPIKey, handle: s.deleteRevocation},
		{method: "GET", path: mediaPath, cors: true, handle: s.getMedia},
		{method: "GET", path: deliveryPath, cors: true, cookies: true, refuse: refuseUnauthorized, handle: s.getDelivery},
		{method: "GET", path: deliveryTokenPath, cors: true, cookies: true, refuse: refuseUnauthorized, handle: s.getDelivery},
		{method: "GET", path: legacyMasterPath, cors: true, cookies: true, refuse: refuseUnauthorized, handle: s.getLegacyMaster},
		{method: "GET", path: deliveredKeyPath, quick: true, cors: true, cookies: true, secret: true, refuse: refuseUnauthorized, handle: s.getDeliveredKey},
		{method: "GET", path: deliveredKeyTokenPath, quick: true, cors: true, cookies: true, secret: true, refuse: refuseUnauthorized, handle: s.getDeliveredKey},
		{method: "POST", path: deliveredLicencePath, limit: 4 << 10, timeout: 5 * time.Second, cors: true, cookies: true, secret: true, refuse: refuseUnauthorized, handle: s.postDeliveredLicence},
		{method: "POST", path: deliveredLicenceTokenPath, limit: 4 << 10, timeout: 5 * time.Second, cors: true, cookies: true, secret: true, refuse: refuseUnauthorized, handle: s.postDeliveredLicence},
		{method: "POST", path: sessionPath, timeout: 5 * time.Second, cors: true, cookies: true, secret: true, refuse: refuseUnauthorized, handle: s.postSession},
		{method: "GET", path: legacyCookieKeyPath, timeout: 5 * time.Second, cors: true, cookies: true, secret: true, refuse: refuseLegacy, handle: s.getLegacyKey},
		{method: "GET", path: legacyTokenKeyPath, timeout: 5 * time.Second, cors: true, cookies: true, secret: true, refuse: refuseLegacy, handle: s.getLegacyKey},
		{method: "GET", path: "/watch/{pk}", timeout: 5 * time.Second, handle: s.getWatch},
		{method: "GET", path: "/embed/{pk}", timeout: 5 * time.Second, handle: s.getEmbed},
		{method: "GET", path: "/console", timeout: 5 * time.Second, handle: s.getConsole},
		{method: "GET", path: "/player/{file}", timeout: 10 * time.Second, handle: s.getPageFile},
		{method: "GET", path: "/healthz", timeout: 5 * time.Second, handle: s.healthz},
		{method: "GET", path: "/readyz", timeout: 5 * time.Second, handle: s.readyz},
	}
}

func (cfg Config) validate() error {
	var faults []error
	need := func(ok bool, text string) {
		if !ok {
			faults = append(faults, errors.New(text))
		}
	}
	need(cfg.APIKey.set, "an API key is needed")
	need(cfg.Gate != nil, "a gate is needed")
	need(cfg.Admin != nil, "what administers access is needed")
	need(slices.Contains(token.Environments, cfg.Environment), "an environment is needed: development, staging or production")
	need(cfg.Keys != nil, "a key store is needed")
	need(cfg.Audit != nil, "an audit journal is needed")
	need(cfg.Jobs != nil, "a job service is needed")
	need(cfg.Webhooks != nil, "webhooks are needed")
	need(cfg.Assets != nil, "an asset service is needed")
	need(cfg.Tracks != nil, "text tracks are needed")
	need(cfg.Publications != nil, "publications are needed")
	need(cfg.Objects != nil, "an object store is needed")
	need(cfg.Pages == nil || cfg.Embeds != nil, "who may embed the player page is needed")
	need(cfg.KeysPerToken > 0, "key requests per minute and token: want 1 or more")
	need(cfg.KeysPerClient > 0, "key requests per minute and client: want 1 or more")
	need(cfg.EventStreams > 0, "event streams: want 1 or more")
	need(cfg.Registry != nil, "a metrics registry is needed")
	need(cfg.Log != nil, "a logger is needed")
	if cfg.BaseURL != "" {
		u, err := url.Parse(cfg.BaseURL)
		need(err == nil && u.Host != "" && u.User == nil && u.Path == "" && u.RawQuery == "" && u.Fragment == "",
			"base URL: want an origin such as https://video.example.com, without a trailing slash")
	}
	return errors.Join(faults...)
}

// serverTimeout is how long a request may take to arrive, and its answer to be
// written, unless its route says otherwise.
const serverTimeout = 30 * time.Second

// NewServer returns a server with all four timeouts. Routes move the read and
// write deadlines of their own requests: a long media download is allowed, a
// stalled one is not.
func NewServer(addr string, h http.Handler) *http.Server {
	srv := &http.Server{
		Addr:              addr,
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       serverTimeout,
		WriteTimeout:      serverTimeout,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    32 << 10,
	}
	if h, ok := h.(*handler); ok {
		srv.RegisterOnShutdown(h.endStreams)
	}
	return srv
}
