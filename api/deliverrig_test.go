package api

import (
	"context"
	"crypto/sha256"
	"strings"
	"testing"
	"time"

	"github.com/sealcast/sealcast/internal/access"
	"github.com/sealcast/sealcast/token"
)

// keyGate decides about playback keys as access.Gate does, without Postgres;
// the end-to-end tests have the real one.
type keyGate struct {
	verifier *token.Verifier
	keys     map[string]*access.PlaybackKey
	seen     []access.Request
}

func (g *keyGate) Authorize(_ context.Context, req access.Request) (access.Grant, error) {
	g.seen = append(g.seen, req)
	k := g.keys[req.PathID]
	if req.Token == "" {
		if k == nil || k.Private {
			return access.Grant{}, access.ErrTokenRequired
		}
		grant := access.Grant{Anonymous: true, Hash: k.Hash, PlaybackKey: k}
		if !grant.Allows(req.Scope, k.Downloads) {
			return grant, token.Error{Code: token.CodeScope}
		}
		return grant, nil
	}
	verified, err := g.verifier.Inspect(req.Token, time.Now(), nil)
	grant := access.Grant{Grant: verified, PlaybackKey: k}
	if err != nil {
		return grant, err
	}
	downloads := k != nil && k.Downloads
	switch {
	case req.PathID == "" || verified.Title() == req.PathID:
		grant.Hash = verified.Title()
	case k == nil || verified.Title() != k.Hash:
		return grant, token.Error{Code: token.CodeMismatch}
	default:
		grant.Hash = k.Hash
	}
	if k != nil {
		grant.Hash = k.Hash
	}
	if !verified.Allows(req.Scope, downloads) {
		return grant, token.Error{Code: token.CodeScope}
	}
	return grant, nil
}

func (g *keyGate) Session(grant access.Grant) (string, error) {
	if grant.Anonymous {
		return "", nil
	}
	return g.verifier.Sessions.Seal(grant.Grant)
}

const (
	pkPrivate = "pk_private"
	pkPublic  = "pk_public"
	pkOther   = "pk_other" // of hashC
	pkLoads   = "pk_loads" // with downloads
)

func newDeliveryRig(t *testing.T, change ...func(*Config)) (*rig, *keyGate) {
	t.Helper()
	sealer, err := token.NewSealer([]byte(testSecret))
	if err != nil {
		t.Fatal(err)
	}
	shared, err := token.NewHMAC([]byte(testSecret))
	if err != nil {
		t.Fatal(err)
	}
	signer, err := token.NewSymmetricKey("kid1", []byte(testSecret), token.Rules{})
	if err != nil {
		t.Fatal(err)
	}
	key := func(kid string) *token.Key {
		if kid == "kid1" {
			return signer
		}
		return nil
	}
	g := &keyGate{verifier: &token.Verifier{Secret: shared, Sessions: sealer, Key: key}, keys: map[string]*access.PlaybackKey{}}
	for id, k := range map[string]access.PlaybackKey{
		pkPrivate: {Hash: hashA, Policy: access.Policy{Private: true}},
		pkPublic:  {Hash: hashA},
		pkOther:   {Hash: hashC, Policy: access.Policy{Private: true}},
		pkLoads:   {Hash: hashA, Policy: access.Policy{Private: true, Downloads: true}},
	} {
		k.ID = id
		g.keys[id] = &k
	}
	r := newRig(t, append([]func(*Config){func(c *Config) { c.Gate = g }}, change...)...)
	for name, doc := range carried {
		kind := kindHLS
		if strings.HasSuffix(name, ".mpd") {
			kind = kindDASH
		}
		r.pubs.add(r.store, hashA, name, kind, []byte(strings.ReplaceAll(doc, "HASH", hashA)), true)
	}
	r.pubs.add(r.store, hashA, "eme.m3u8", kindHLS, []byte(masterPlaylist), true)
	jpeg := aJPEG(t, 320, 180)
	r.addPart(hashA, "poster.jpg", "image/jpeg", jpeg)
	r.addPart(hashA, "storyboard-0.jpg", "image/jpeg", jpeg)
	r.addPart(hashA, "storyboard.vtt", "text/vtt", []byte(storyboardVTT))
	r.addPart(hashA, "static/720p.mp4", "video/mp4", []byte(segment))
	r.addPart(hashA, "text/en/full.vtt", "text/vtt", []byte("WEBVTT\n"))
	return r, g
}

// addPart adds an object of a current part.
func (r *rig) addPart(hash, name, kind string, data []byte) {
	first, _, _ := strings.Cut(name, "/")
	r.pubs.objects[objectKey(hash, testPart, name)] = Object{
		Name: name, ContentType: kind, Size: int64(len(data)), SHA256: sha256.Sum256(data), Encrypted: true, Kind: first,
	}
	r.store.data[objectKey(hash, testPart, name)] = data
}

const storyboardVTT = "WEBVTT\n\n00:00.000 --> 00:05.000\nstoryboard-0.jpg#xywh=0,0,160,90\n\n00:05.000 --> 00:10.000\nstoryboard-0.jpg#xywh=160,0,160,90\n"

func (g *keyGate) mint(t *testing.T, c token.Claims) string {
	t.Helper()
	if c.ExpiresAt.IsZero() {
		c.ExpiresAt = time.Now().Add(5 * time.Minute)
	}
	signer, err := token.NewSymmetricSigner("kid1", []byte(testSecret))
	if err != nil {
		t.Fatal(err)
	}
	tok, err := signer.Mint(c)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// good is a token for everything under a playback key.
func (g *keyGate) good(t *testing.T, pk string) string {
	return g.mint(t, token.Claims{Subject: pk, Audience: []string{"v"}})
}
