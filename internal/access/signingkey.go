package access

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"regexp"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/sealcast/sealcast/token"
)

// Where the key of a signing key comes from.
const (
	SourceCreated   = "created"    // by us; the private key was shown once
	SourcePublicKey = "public_key" // somebody's own
	SourceJWKS      = "jwks"       // somebody's set, fetched again and again
)

// SigningKey is somebody whose signatures are believed.
type SigningKey struct {
	KID           string
	Label         string
	Source        string
	Algorithm     string // empty: the set's keys say
	PublicKey     string // PEM; empty: symmetric, or a set
	Issuer        string // empty: not compared
	Environment   string // or EnvironmentAll
	MaxTTL        time.Duration
	AllowWildcard bool
	CreatedAt     time.Time
	RevokedAt     *time.Time

	JWKSURL       string
	JWKSFetchedAt *time.Time
	JWKSError     string // of the last fetch
	jwks          string
	salt          []byte
}

// CreatedKey is a signing key with what is shown once.
type CreatedKey struct {
	SigningKey
	PrivateKey string // PEM, PKCS #8; empty: not ours, or symmetric
	Secret     []byte // of a symmetric key
}

var kidPattern = regexp.MustCompile(`^[A-Za-z0-9_-]{3,64}$`)

func (k *SigningKey) check() error {
	switch {
	case !kidPattern.MatchString(k.KID) || k.KID == OwnKey || k.KID == SharedKey:
		return invalid("kid", "want 3 to 64 of A-Z a-z 0-9 _ -, and neither %s nor %s", OwnKey, SharedKey)
	case k.Environment != EnvironmentAll && !slices.Contains(token.Environments, k.Environment):
		return invalid("environment", "want development, staging, production or all")
	case k.MaxTTL < time.Second || k.MaxTTL > token.MaxKeyTTL || k.MaxTTL%time.Second != 0:
		return invalid("max_ttl", "want 1 to %d seconds", int(token.MaxKeyTTL.Seconds()))
	case len(k.Issuer) > 255 || !utf8.ValidString(k.Issuer) || slices.Contains([]rune(k.Issuer), 0):
		return invalid("issuer", "want at most 255 bytes")
	}
	return checkLabel(k.Label)
}

func (k *SigningKey) rules() token.Rules {
	return token.Rules{Issuer: k.Issuer, MaxTTL: k.MaxTTL, AllowWildcard: k.AllowWildcard, Record: k.KID}
}

// generate makes the key of a signing key that we create.
func (k *SigningKey) generate(s *secrets) (CreatedKey, error) {
	var private crypto.Signer
	var err error
	switch k.Algorithm {
	case token.RS256:
		private, err = rsa.GenerateKey(rand.Reader, 2048)
	case token.ES256:
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case token.EdDSA:
		_, private, err = ed25519.GenerateKey(rand.Reader)
	case token.HS256:
		k.salt = make([]byte, 32)
		_, _ = rand.Read(k.salt)
		secret, err := s.derive(k.KID, k.salt)
		return CreatedKey{SigningKey: *k, Secret: secret}, err
	default:
		return CreatedKey{}, invalid("algorithm", "want RS256, ES256, EdDSA or HS256")
	}
	if err != nil {
		return CreatedKey{}, err
	}
	if k.PublicKey, err = publicPEM(private.Public()); err != nil {
		return CreatedKey{}, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return CreatedKey{}, err
	}
	return CreatedKey{SigningKey: *k, PrivateKey: string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))}, nil
}

func publicPEM(public crypto.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(public)
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})), err
}

// adopt takes somebody's public key. Its type says the algorithm; one that was
// asked for must be the same.
func (k *SigningKey) adopt() error {
	public, err := token.ParsePublicKey([]byte(k.PublicKey))
	if err != nil {
		return invalid("public_key", "want one public key in PEM, as openssl pkey -pubout prints it")
	}
	verifies, err := token.NewPublicKey(k.KID, public, k.rules())
	switch {
	case err != nil:
		return invalid("public_key", "%v", err)
	case k.Algorithm != "" && k.Algorithm != verifies.Alg():
		return invalid("algorithm", "the key is for %s", verifies.Alg())
	}
	k.Algorithm = verifies.Alg()
	k.PublicKey, err = publicPEM(public)
	return err
}

// keys are what verifies: one, or those of the set that fit.
func (k *SigningKey) keys(s *secrets) ([]*token.Key, error) {
	switch {
	case k.Source == SourceJWKS:
		return keysOfSet([]byte(k.jwks), k.rules())
	case k.Algorithm == token.HS256:
		secret, err := s.derive(k.KID, k.salt)
		if err != nil {
			return nil, err
		}
		key, err := token.NewSymmetricKey(k.KID, secret, k.rules())
		return []*token.Key{key}, err
	}
	public, err := token.ParsePublicKey([]byte(k.PublicKey))
	if err != nil {
		return nil, err
	}
	key, err := token.NewPublicKey(k.KID, public, k.rules())
	return []*token.Key{key}, err
}
