// Package arrows draws who may import whom. Its test compares the drawing with
// `go list -deps`, so that an arrow through a third package is seen too.
package arrows

// Drawing is the plan; what it does not draw is forbidden.
const Drawing = `
cmd ─► worker ─► pipeline ─► internal/sandbox ─► internal/proc
 │       ├─────► keystore ─► pgx
 │       ├─────► internal/cenc
 │       └─────► internal/webhook
 ├──► api ─────► keystore, token, internal/cenc, internal/picture, internal/access ─► token, internal/cenc, pgx
 ├──► migrations, internal/objstore, internal/localstack, internal/player   (wiring only)
 ├──► internal/verify ─► internal/sandbox  (a strict client: it shares no code with the pipeline)
 └──► internal/sandbox                     (its hook in main, and its modes)
internal/objstore ─► pipeline (whose ObjectStore it implements)
keystore ─► keystore/audit                 (the chain; worker, api and cmd write to it too)
pipeline, worker, api ─► internal/texttrack
worker, keystore, internal/access ─► internal/notices ─► pgx   (LISTEN)
pipeline, keystore ─► internal/cenc        cenc, proc, token, webhook: no import of ours
never: pipeline → {worker, keystore, api, pgx, asynq}; keystore → {pipeline, worker, api, asynq};
       api → {worker, pipeline}; worker → api
`

// Allowed lists, for each package of ours, what of ours it may reach, directly
// or through others.
var Allowed = map[string][]string{
	"internal/arrows":          {},
	"internal/cenc":            {},
	"internal/proc":            {},
	"internal/texttrack":       {},
	"internal/webhook":         {},
	"internal/picture":         {},
	"token":                    {},
	"internal/notices":         {},
	"internal/access":          {"token", "internal/cenc", "internal/notices"},
	"migrations":               {},
	"internal/sandbox":         {"internal/proc"},
	"internal/verify":          {"internal/proc", "internal/sandbox"},
	"internal/player":          {},
	"internal/localstack":      {},
	"keystore/audit":           {},
	"keystore":                 {"keystore/audit", "internal/cenc", "internal/notices"},
	"keystore/vault":           {"keystore", "keystore/audit", "internal/cenc", "internal/notices"},
	"keystore/vault/vaulttest": {"internal/proc"},
	"pipeline":                 {"internal/cenc", "internal/proc", "internal/sandbox", "internal/texttrack"},
	"internal/objstore":        {"pipeline", "internal/cenc", "internal/proc", "internal/sandbox", "internal/texttrack"},
	"worker":                   {"pipeline", "keystore", "keystore/audit", "internal/cenc", "internal/proc", "internal/sandbox", "internal/webhook", "internal/texttrack", "internal/notices"},
	"api":                      {"keystore", "keystore/audit", "token", "internal/cenc", "internal/access", "internal/picture", "internal/texttrack", "internal/notices"},

	// For tests only.
	"keystore/keystoretest":              {"keystore", "keystore/audit", "internal/cenc", "internal/notices"},
	"internal/corpus":                    {},
	"internal/player/browsertest":        {},
	"internal/localstack/localstacktest": {"internal/localstack", "migrations"},
}

// Forbidden lists outside packages that a package of ours may not reach.
var Forbidden = map[string][]string{
	"pipeline":       {"github.com/jackc/pgx/v5", "github.com/hibiken/asynq", "github.com/minio/minio-go/v7"},
	"keystore":       {"github.com/hibiken/asynq"},
	"keystore/audit": {"github.com/hibiken/asynq", "github.com/minio/minio-go/v7"},
	"api":            {"github.com/hibiken/asynq", "github.com/minio/minio-go/v7"},
	"token":          {"net/http", "database/sql"},
}
