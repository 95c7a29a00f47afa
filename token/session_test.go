package token

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestScopes(t *testing.T) {
	tests := []struct {
		aud       []string
		downloads bool
		covers    string
	}{
		{nil, false, "vktsc"},
		{nil, true, "vktscd"},
		{[]string{"v"}, false, "vktsc"},
		{[]string{"film-1"}, false, "vktsc"},
		{[]string{"film-1"}, true, "vktscd"},
		{[]string{"k"}, true, "k"},
		{[]string{"t", "s"}, true, "ts"},
		{[]string{"d"}, false, "d"},
		{[]string{"film-2"}, true, ""},
		{[]string{"*"}, true, ""},
		{[]string{"V", "kk", "", "x"}, true, ""},
	}
	for _, tt := range tests {
		c, got := Claims{Subject: "film-1", Audience: tt.aud}, ""
		for _, scope := range "vktscd" {
			if c.Allows(byte(scope), tt.downloads) {
				got += string(scope)
			}
		}
		if got != tt.covers {
			t.Errorf("%q, downloads %v: covers %q, want %q", tt.aud, tt.downloads, got, tt.covers)
		}
	}
}

func TestSessions(t *testing.T) {
	v := verifier(t)
	claims := Claims{Subject: "film-1", Audience: []string{"v"}, ExpiresAt: now.Add(time.Hour), UID: "u", Ref: []string{"a.example"}}
	tok, err := signer(t, "ec").Mint(claims)
	if err != nil {
		t.Fatal(err)
	}
	of := func(tok string) Grant {
		g, err := v.Verify(tok, now)
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	seal := func(g Grant) string {
		s, err := v.Sessions.Seal(g)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	grant := of(tok)
	session := seal(grant)
	back := of(session)
	if back.Form != FormS || back.ID != grant.ID || back.KeyID != "ec" {
		t.Errorf("%+v", back)
	}
	if diff := cmp.Diff(grant.Claims, back.Claims); diff != "" {
		t.Error(diff)
	}
	if seal(grant) != session || seal(back) != session {
		t.Error("one grant has two sessions")
	}
	for _, clear := range []string{"film-1", b64("film-1")[:6], "a.example"} {
		if strings.Contains(session, clear) {
			t.Errorf("%q shows in %s", clear, session)
		}
	}
	if _, err := v.Verify(session, now.Add(time.Hour)); !errors.Is(err, Error{CodeExpired}) {
		t.Errorf("outlives its token: %v", err)
	}
	t.Run("of a record", func(t *testing.T) {
		g := grant
		g.Record = "rec"
		if back := of(seal(g)); back.Record != "rec" || seal(back) == session {
			t.Errorf("%+v", back)
		}
	})
	t.Run("of form H", func(t *testing.T) {
		g := of(seal(of(vector)))
		if g.Title() != hash || !g.Allows('k', false) {
			t.Errorf("%+v", g)
		}
	})
	t.Run("of form H under a kid", func(t *testing.T) {
		h, err := NewHMAC(symmetric)
		if err != nil {
			t.Fatal(err)
		}
		tok, err := h.Mint(Claims{Hash: hash, ExpiresAt: now.Add(time.Minute), KeyID: "sym"})
		if err != nil {
			t.Fatal(err)
		}
		if g := of(seal(of(tok))); g.KeyID != "sym" {
			t.Errorf("%+v", g)
		}
	})
	t.Run("spoilt", func(t *testing.T) {
		foreign, err := NewSealer([]byte(strings.Repeat("x", 32)))
		if err != nil {
			t.Fatal(err)
		}
		other, err := foreign.Seal(grant)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range []string{
			"st_", "st_AA", session + "=", session + "\n", session[:len(session)-2], "ST_" + session[3:], session[3:], other,
			"st_" + strings.TrimPrefix(tok, "st_"), session + ".", "st_" + vector,
		} {
			_, err := v.Verify(s, now)
			checkCode(t, err, CodeInvalid)
		}
		b, err := base64.RawURLEncoding.DecodeString(session[3:])
		if err != nil {
			t.Fatal(err)
		}
		for i := range b {
			b[i] ^= 1
			_, err := v.Verify("st_"+base64.RawURLEncoding.EncodeToString(b), now)
			checkCode(t, err, CodeInvalid)
			b[i] ^= 1
		}
	})
	t.Run("too large for a path", func(t *testing.T) {
		g := grant
		g.UID = strings.Repeat("u", 2000)
		if s, err := v.Sessions.Seal(g); !errors.Is(err, Error{CodeTooLarge}) {
			t.Errorf("%d bytes, %v", len(s), err)
		}
	})
}
