package main

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/Eyevinn/hls-m3u8/m3u8"
	"github.com/Eyevinn/mp4ff/mp4"
)

// maxObject bounds one segment or playlist that the viewer fetches, in bytes.
const maxObject = 512 << 20

// viewer plays a title as a player does, from the public URLs alone: it
// fetches the playlists, the segments, and the keys with a Bearer token, and
// decrypts. It shares no code with the pipeline, so what it can play is proof.
type viewer struct {
	http  *http.Client
	token string            // sent to key URIs only
	keys  map[string][]byte // by key URI
	shown func(float64)     // is told how much of a rendition was fetched, in per cent
}

func newViewer(token string) *viewer {
	return &viewer{http: newHTTPClient(), token: token, keys: map[string][]byte{}, shown: func(float64) {}}
}

// rendition is one media playlist of a multivariant playlist.
type rendition struct {
	name  string // 1280x720, audio en
	url   string
	video bool
}

// renditions fetches a multivariant playlist (RFC 8216, 4.3.4) and returns its
// text and the media playlists in it, each once.
func (v *viewer) renditions(ctx context.Context, master string) (string, []rendition, error) {
	body, err := v.get(ctx, master, false)
	if err != nil {
		return "", nil, err
	}
	list, _, err := m3u8.DecodeFrom(bytes.NewReader(body), true)
	if err != nil {
		return "", nil, fmt.Errorf("parse %s: %w", master, err)
	}
	mv, ok := list.(*m3u8.MasterPlaylist)
	if !ok {
		return "", nil, fmt.Errorf("%s is no multivariant playlist", master)
	}
	var out []rendition
	seen := map[string]bool{}
	add := func(r rendition, uri string) error {
		r.url, err = resolve(master, uri)
		if err == nil && !seen[r.url] {
			seen[r.url] = true
			out = append(out, r)
		}
		return err
	}
	for _, variant := range mv.Variants {
		if variant.Iframe {
			continue
		}
		name := variant.Resolution
		if name == "" {
			name = "audio"
		}
		if err := add(rendition{name: name, video: variant.Resolution != ""}, variant.URI); err != nil {
			return "", nil, err
		}
	}
	for _, variant := range mv.Variants {
		for _, alt := range variant.Alternatives {
			if alt == nil || alt.Type != "AUDIO" || alt.URI == "" {
				continue
			}
			r := rendition{name: strings.TrimSpace("audio " + alt.Language)}
			if err := add(r, alt.URI); err != nil {
				return "", nil, err
			}
		}
	}
	if len(out) == 0 {
		return "", nil, fmt.Errorf("%s has no variants", master)
	}
	return string(body), out, nil
}

// media fetches a media playlist and checks that it is whole.
func (v *viewer) media(ctx context.Context, playlist string) (*m3u8.MediaPlaylist, error) {
	body, err := v.get(ctx, playlist, false)
	if err != nil {
		return nil, err
	}
	list, _, err := m3u8.DecodeFrom(bytes.NewReader(body), true)
	if err != nil {
		return nil, fmt.Errorf("parse %s: %w", playlist, err)
	}
	mp, ok := list.(*m3u8.MediaPlaylist)
	if !ok || !mp.Closed || mp.Count() == 0 {
		return nil, fmt.Errorf("%s is no finished media playlist with segments", playlist)
	}
	return mp, nil
}

// stream writes the whole rendition, decrypted, to w: for fragmented MP4 the
// init segment and every segment, for MPEG-TS every segment.
func (v *viewer) stream(ctx context.Context, playlist string, mp *m3u8.MediaPlaylist, w io.Writer) error {
	var key *m3u8.Key
	var mapURI string
	var info mp4.DecryptInfo
	for i, seg := range mp.Segments[:mp.Count()] {
		v.shown(float64(i) / float64(mp.Count()) * 100)
		if len(seg.Keys) > 0 {
			key = identityKey(seg.Keys)
			if key == nil {
				return fmt.Errorf("%s: segment %d has no key of the format identity", playlist, i)
			}
		}
		m := seg.Map
		if m == nil {
			m = mp.Map
		}
		if m != nil && m.URI != mapURI {
			var err error
			if info, err = v.initSegment(ctx, playlist, m, w); err != nil {
				return err
			}
			mapURI = m.URI
		}
		if err := v.segment(ctx, playlist, mp.SeqNo+uint64(i), seg, key, info, w); err != nil {
			return fmt.Errorf("segment %s: %w", seg.URI, err)
		}
	}
	return nil
}

// identityKey picks the key tag whose URI gives the key itself (RFC 8216,
// 4.3.2.4).
func identityKey(keys []m3u8.Key) *m3u8.Key {
	for i, k := range keys {
		if k.Keyformat == "" || k.Keyformat == "identity" {
			return &keys[i]
		}
	}
	return nil
}

// initSegment writes the init segment as one of clear media.
func (v *viewer) initSegment(ctx context.Context, playlist string, m *m3u8.Map, w io.Writer) (mp4.DecryptInfo, error) {
	body, err := v.getRef(ctx, playlist, m.URI, m.Offset, m.Limit)
	if err != nil {
		return mp4.DecryptInfo{}, err
	}
	f, err := mp4.DecodeFile(bytes.NewReader(body))
	if err != nil || f.Init == nil || f.Init.Moov == nil || f.Init.Moov.Mvex == nil {
		return mp4.DecryptInfo{}, errors.Join(fmt.Errorf("%s is no init segment", m.URI), err)
	}
	info, err := mp4.DecryptInit(f.Init)
	if err != nil {
		return mp4.DecryptInfo{}, fmt.Errorf("init segment %s: %w", m.URI, err)
	}
	return info, f.Init.Encode(w)
}

// segment fetches one segment, decrypts it by the method of its key tag, and
// writes it.
func (v *viewer) segment(ctx context.Context, playlist string, seq uint64, seg *m3u8.MediaSegment, key *m3u8.Key, info mp4.DecryptInfo, w io.Writer) error {
	body, err := v.getRef(ctx, playlist, seg.URI, seg.Offset, seg.Limit)
	if err != nil {
		return err
	}
	method := "NONE"
	if key != nil {
		method = key.Method
	}
	switch method {
	case "NONE":
	case "AES-128":
		content, err := v.contentKey(ctx, playlist, key)
		if err != nil {
			return err
		}
		if body, err = decryptSegment(body, content, key.IV, seq); err != nil {
			return err
		}
	case "SAMPLE-AES", "SAMPLE-AES-CTR":
		content, err := v.contentKey(ctx, playlist, key)
		if err != nil {
			return err
		}
		f, err := mp4.DecodeFile(bytes.NewReader(body))
		if err != nil {
			return fmt.Errorf("parse: %w", err)
		}
		for _, s := range f.Segments {
			if err := mp4.DecryptSegment(s, info, content); err != nil {
				return fmt.Errorf("decrypt: %w", err)
			}
			if err := s.Encode(w); err != nil {
				return err
			}
		}
		return nil
	default:
		return fmt.Errorf("unknown encryption method %s", method)
	}
	_, err = w.Write(body)
	return err
}

// decryptSegment undoes METHOD=AES-128: AES-CBC over the whole segment with
// PKCS #7 padding; without an IV the media sequence number is one (RFC 8216,
// 5.2).
func decryptSegment(body, key []byte, ivText string, seq uint64) ([]byte, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("content key: %w", err)
	}
	iv := make([]byte, aes.BlockSize)
	if ivText == "" {
		for i := range 8 {
			iv[15-i] = byte(seq >> (8 * i))
		}
	} else if n, err := hex.Decode(iv, []byte(strings.TrimPrefix(strings.ToLower(ivText), "0x"))); err != nil || n != len(iv) {
		return nil, errors.New("the IV is not 16 bytes of hex")
	}
	if len(body) == 0 || len(body)%aes.BlockSize != 0 {
		return nil, fmt.Errorf("%d bytes are no whole number of cipher blocks", len(body))
	}
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(body, body)
	pad := int(body[len(body)-1])
	if pad < 1 || pad > aes.BlockSize || !bytes.Equal(body[len(body)-pad:], bytes.Repeat([]byte{byte(pad)}, pad)) {
		return nil, errors.New("wrong padding after decryption: not the key of this segment")
	}
	return body[:len(body)-pad], nil
}

// contentKey fetches a key with the token, once per key URI.
func (v *viewer) contentKey(ctx context.Context, playlist string, key *m3u8.Key) ([]byte, error) {
	u, err := resolve(playlist, key.URI)
	if err != nil {
		return nil, err
	}
	if k, ok := v.keys[u]; ok {
		return k, nil
	}
	k, err := v.get(ctx, u, true)
	if err != nil {
		return nil, err
	}
	if len(k) != aes.BlockSize {
		return nil, fmt.Errorf("%s gave %d bytes, want 16", u, len(k))
	}
	v.keys[u] = k
	return k, nil
}

// keyStatus asks for a key with a token, or with none, and returns the status.
// A refusal that carries 16 bytes all the same is an error.
func (v *viewer) keyStatus(ctx context.Context, keyURL, token string) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, keyURL, nil)
	if err != nil {
		return 0, err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := v.http.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err == nil && resp.StatusCode != http.StatusOK && len(body) == aes.BlockSize {
		err = fmt.Errorf("the answer %s carries 16 bytes", resp.Status)
	}
	return resp.StatusCode, err
}

func (v *viewer) getRef(ctx context.Context, base, ref string, offset, limit int64) ([]byte, error) {
	if limit > 0 || offset > 0 {
		return nil, fmt.Errorf("%s is a byte range, which sealcast does not write", ref)
	}
	u, err := resolve(base, ref)
	if err != nil {
		return nil, err
	}
	return v.get(ctx, u, false)
}

// get fetches a URL whole. Only a key request carries the token.
func (v *viewer) get(ctx context.Context, u string, isKey bool) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
	if err != nil {
		return nil, err
	}
	if isKey {
		req.Header.Set("Authorization", "Bearer "+v.token)
	}
	resp, err := v.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxObject))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", u, err)
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("GET %s: %s: %s", u, resp.Status, problemCode(body))
	}
	return body, nil
}

// newHTTPClient returns a client that never follows a redirect: credentials
// go to the place they are meant for and nowhere else.
func newHTTPClient() *http.Client {
	return &http.Client{
		Timeout:       time.Minute,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func resolve(base, ref string) (string, error) {
	b, err := url.Parse(base)
	if err != nil {
		return "", fmt.Errorf("parse URL: %w", err)
	}
	u, err := b.Parse(ref)
	if err != nil {
		return "", fmt.Errorf("parse URL %q: %w", ref, err)
	}
	return u.String(), nil
}
