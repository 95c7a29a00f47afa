package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"
)

// The configuration: one small struct per concern; a subcommand names the
// concerns it needs. The tag set says what to set; it stands in help texts
// and in faults.

type logConfig struct {
	Level  logLevel  `env:"LOG_LEVEL" envDefault:"info" set:"debug, info, warn or error"`
	Format logFormat `env:"LOG_FORMAT" set:"json or text (default: text on a terminal, else json)"`
}

type publicConfig struct {
	BaseURL origin `env:"BASE_URL,required" set:"the public origin that players reach, without a slash at the end: https://media.example.org"`
}

type listenConfig struct {
	Addr listenAddr `env:"LISTEN_ADDR" envDefault:":8080" set:"the host:port on which the API listens"`
}

type metricsConfig struct {
	Addr listenAddr `env:"METRICS_ADDR" envDefault:"127.0.0.1:9090" set:"the host:port that serves /metrics; never a public one"`
}

type databaseConfig struct {
	URL databaseURL `env:"DATABASE_URL,required" set:"the PostgreSQL database: postgres://user:password@host:5432/sealcast"`
}

type redisConfig struct {
	URL redisURL `env:"REDIS_URL,required" set:"the Redis of the queue (maxmemory-policy noeviction): redis://:password@host:6379/0"`
}

type s3Config struct {
	Endpoint  s3Endpoint `env:"S3_ENDPOINT,required" set:"the object store: http://minio:9000 or https://s3.example.org"`
	AccessKey secret     `env:"S3_ACCESS_KEY,required" set:"the object store's access key"`
	SecretKey secret     `env:"S3_SECRET_KEY,required" set:"the object store's secret key"`
	Region    string     `env:"S3_REGION" envDefault:"us-east-1" set:"the object store's region"`
}

type sourceConfig struct {
	Bucket bucketName `env:"SOURCE_BUCKET,required" set:"the bucket that uploads go to"`
}

type mediaConfig struct {
	Bucket bucketName `env:"MEDIA_BUCKET,required" set:"the bucket that published media lies in, another one than SOURCE_BUCKET"`
}

type auditConfig struct {
	Bucket bucketName `env:"AUDIT_BUCKET" set:"the bucket for anchors of the audit trail, best one whose objects nobody can overwrite or remove (default: MEDIA_BUCKET)"`
	Every  period     `env:"AUDIT_ANCHOR_EVERY" envDefault:"5m" set:"how often the head of the audit trail is anchored: 1m, 5m"`
}

type apiKeyConfig struct {
	Key headerSecret `env:"API_KEY,required" set:"a random secret of at least 16 characters for /api/jobs and /api/media: openssl rand -hex 24"`
}

type tokenConfig struct {
	Secret tokenSecret `env:"KEY_TOKEN_SECRET,required" set:"a random secret of at least 32 bytes that signs playback tokens: openssl rand -hex 32"`
}

// mintConfig is for the command token, which can do without it.
type mintConfig struct {
	Secret tokenSecret `env:"KEY_TOKEN_SECRET" set:"the secret that signs playback tokens, as the API has it"`
}

type viewerConfig struct {
	CORSOrigins       []corsOrigin  `env:"CORS_ORIGINS" set:"the origins of pages that may play, by comma: https://www.example.org,http://127.0.0.1:*"`
	TrustedProxies    []proxyPrefix `env:"TRUSTED_PROXIES" set:"addresses or CIDRs of the proxies whose X-Forwarded-For counts, by comma"`
	Environment       stageName     `env:"ENVIRONMENT" envDefault:"production" set:"development, staging or production: what titles belong to here, unless a playback key says otherwise"`
	KeyLimitPerToken  count         `env:"KEY_LIMIT_TOKEN_PER_MINUTE" envDefault:"120" set:"key requests per minute and token"`
	KeyLimitPerClient count         `env:"KEY_LIMIT_CLIENT_PER_MINUTE" envDefault:"3000" set:"key requests per minute and client address"`
}

type streamConfig struct {
	EventStreams count `env:"MAX_EVENT_STREAMS" envDefault:"500" set:"how many event streams of jobs may be open at once"`
}

// limitConfig bounds sources where they are submitted and where they are read.
type limitConfig struct {
	MaxSourceBytes byteSize `env:"MAX_SOURCE_BYTES" envDefault:"50GiB" set:"the largest source that is taken, in bytes or as 500MiB, 50GiB"`
}

type admissionConfig struct {
	LargeSourceBytes byteSize `env:"LARGE_SOURCE_BYTES" envDefault:"4GiB" set:"sources of this size and more that come by HTTP go to the queue video:large"`
}

type workConfig struct {
	Concurrency      count       `env:"WORKER_CONCURRENCY" set:"how many jobs of the queue default run at once (default: one for every four cores)"`
	LargeConcurrency count       `env:"WORKER_LARGE_CONCURRENCY" envDefault:"1" set:"how many jobs of the queue video:large run at once"`
	AttemptMemory    byteSize    `env:"ATTEMPT_MEMORY" envDefault:"1536MiB" set:"the memory that must be there for a job to begin: 1536MiB, 3GiB"`
	ChildMemory      byteSize    `env:"CHILD_MEMORY" set:"the most memory that one ffmpeg, ffprobe or packager gets: 4GiB (default: what this machine or container has, at least 4GiB)"`
	VerifySourceHash onOff       `env:"VERIFY_SOURCE_HASH" envDefault:"on" set:"on: a job's hash is its source's SHA-256 and is compared; off: it is only a name"`
	Sandbox          sandboxMode `env:"SANDBOX" envDefault:"auto" set:"auto: ffmpeg, ffprobe and packager run as confined as this host allows; require: fully or not at all; off: unconfined"`
	ScratchDir       existingDir `env:"SCRATCH_DIR" set:"a folder for small working files; nothing uses it yet (default: the system's folder for temporary files)"`
	DrainTimeout     period      `env:"DRAIN_TIMEOUT" envDefault:"10m" set:"how long running jobs may still take at shutdown: 30s, 10m"`
}

type webhookConfig struct {
	Secret   webhookSecret  `env:"WEBHOOK_SECRET" set:"the secret that signs webhooks: echo whsec_$(openssl rand -base64 32); without it a callback_url is refused"`
	Previous webhookSecret  `env:"WEBHOOK_SECRET_PREVIOUS" set:"the secret before WEBHOOK_SECRET, while receivers still verify with it"`
	Allow    []webhookAllow `env:"WEBHOOK_ALLOW" set:"addresses, CIDRs or host:port that webhooks may go to, by http too, beside https on the public internet, by comma"`
}

type gcModeConfig struct {
	Mode gcMode `env:"GC" envDefault:"dry-run" set:"what workers do with garbage: off, dry-run (look, count and log) or on (remove it)"`
}

type gcConfig struct {
	Grace     gracePeriod `env:"GC_GRACE" envDefault:"1h" set:"how long ago a job must have ended before its unpublished objects and keys go: 1m or more"`
	Retention period      `env:"GC_RETENTION" envDefault:"720h" set:"how long ago a generation must have been replaced before it goes: longer than anybody plays one"`
}

type kekConfig struct {
	Primary   count        `env:"KEK_PRIMARY,required" set:"the version of the KEK that wraps new content keys: the n of a KEK_<n>"`
	File      kekFile      `env:"KEK_FILE" set:"a file of mode 0400 with KEK_PRIMARY=… and KEK_<n>=… lines, instead of these variables; SIGHUP reads it again"`
	Vault     vaultURL     `env:"VAULT_ADDR" set:"the Vault or OpenBao server of KEKs that lie there: https://vault.example.org:8200"`
	Token     headerSecret `env:"VAULT_TOKEN" set:"a token that may encrypt and decrypt with the transit keys"`
	Namespace string       `env:"VAULT_NAMESPACE" set:"the namespace of the transit engine, if any"`

	// Versions has every KEK_<n>. The map is filled by load.
	Versions map[int]kek `env:"-"`
	// again reads the same from the same places, for SIGHUP. It is set by load.
	again func() (*kekConfig, error) `env:"-"`
}

const setKEK = "64 hex digits (32 random bytes) for each version n = 1, 2, …: openssl rand -hex 32; or vault:<mount>/<key>:<version>, a transit key's version"

type config struct {
	Log      logConfig
	Public   publicConfig
	Listen   listenConfig
	Metrics  metricsConfig
	Database databaseConfig
	Redis    redisConfig
	S3       s3Config
	Source   sourceConfig
	Media    mediaConfig
	Audit    auditConfig
	APIKey   apiKeyConfig
	Token    tokenConfig
	Mint     mintConfig
	KEK      kekConfig
	Viewer   viewerConfig
	Webhook  webhookConfig
	Streams  streamConfig
	Limit    limitConfig
	Admit    admissionConfig
	Work     workConfig
	GCMode   gcModeConfig
	GC       gcConfig
}

// environment is the process's environment, by name.
type environment map[string]string

// setting is one variable as check-config prints it.
type setting struct {
	name  string
	shown string // redacted
	from  string // environment, default, the file's name; empty: not set
}

// fault is one thing wrong with one variable.
type fault struct{ name, wrong, set string }

func (f fault) String() string { return f.name + ": " + f.wrong + "; set " + f.set }

// configError has every fault of the configuration.
type configError struct{ faults []fault }

func (e *configError) Error() string {
	var b strings.Builder
	noun := "faults"
	if len(e.faults) == 1 {
		noun = "fault"
	}
	fmt.Fprintf(&b, "%d %s in the configuration", len(e.faults), noun)
	for _, f := range e.faults {
		b.WriteString("\n  " + f.String())
	}
	return b.String()
}

// load reads the concerns of c that needs gives from the environment. It
// returns every variable looked at, in the order of declaration, and a
// *configError with all faults at once.
func (c *config) load(environ environment, needs func(*config) []any) ([]setting, error) {
	l := &loader{environ: environ}
	for _, concern := range needs(c) {
		k, ok := concern.(*kekConfig)
		if ok {
			l.environ = l.withKEKFile(environ)
		}
		l.concern(concern)
		if ok {
			l.keks(k)
			k.again = func() (*kekConfig, error) {
				var next config
				_, err := next.load(environ, func(c *config) []any { return []any{&c.KEK} })
				return &next.KEK, err
			}
		}
		l.environ = environ
	}
	if c.Source.Bucket != "" && c.Source.Bucket == c.Media.Bucket {
		l.fault("MEDIA_BUCKET", "is the same as SOURCE_BUCKET", "another bucket: uploads are never public, media may be")
	}
	if c.Work.Concurrency == 0 {
		// An attempt keeps four cores busy; GOMAXPROCS knows a container's share.
		c.Work.Concurrency = count(max(1, runtime.GOMAXPROCS(0)/4))
	}
	l.checkWebhooks(&c.Webhook)
	if c.Work.ScratchDir == "" {
		c.Work.ScratchDir = existingDir(os.TempDir())
	}
	if len(l.faults) > 0 {
		return l.settings, &configError{l.faults}
	}
	return l.settings, nil
}
