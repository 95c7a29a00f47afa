package api

import (
	"encoding/json"
	"errors"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// Property: a body is refused as a 400 with a short sentence, or gives a type
// and one object of known members that is the same when it is sent again.
func FuzzParseJobRequest(f *testing.F) {
	for _, s := range []string{
		jobBody(""), jobBody(`,"options":{"a":1,"a":2}`), jobBody(`,"type":"x"`), `{"type":"x"}`, `{"type":"\ud800"}`, `{"TYPE":"x"}`, `[]`, `{"type":null}`, "\ufeff{}",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		req, err := parseJobRequest(body)
		if err != nil {
			var p *Problem
			if !errors.As(err, &p) || p.Status != 400 || p.Code == "" || len(p.Detail) > 400 {
				t.Fatalf("refused with %#v", err)
			}
			return
		}
		var members map[string]json.RawMessage
		if err := json.Unmarshal(req.Payload, &members); err != nil {
			t.Fatalf("payload %q: %v", req.Payload, err)
		}
		for name := range members {
			if !slices.Contains(jobMembers, name) {
				t.Fatalf("member %q in %q", name, req.Payload)
			}
		}
		members["type"], _ = json.Marshal(req.Type)
		whole, err := json.Marshal(members)
		if err != nil {
			t.Fatal(err)
		}
		again, err := parseJobRequest(whole)
		if err != nil || again.Type != req.Type || string(again.Payload) != string(req.Payload) {
			t.Fatalf("sent again it is %+v, %v", again, err)
		}
	})
}

// Property: in a path that is taken no segment climbs, is empty or hides a
// separator, however often somebody behind us decodes it once more.
func FuzzCleanPath(f *testing.F) {
	for _, s := range []string{"/healthz", "/a/../b", "/a/%2e%2e/b", "/a%2fb", "//a", "/a\\b", "/a/.", "/%5c", "*", "", "/a/b/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, target string) {
		u, err := url.ParseRequestURI(target)
		if err != nil || !cleanPath(u) {
			return
		}
		if !strings.HasPrefix(u.Path, "/") {
			t.Fatalf("%q is relative", u.Path)
		}
		segments := strings.Split(u.Path[1:], "/")
		if strings.Count(u.EscapedPath(), "/") != len(segments) {
			t.Fatalf("%q hides a separator", target)
		}
		for i, s := range segments {
			if s == "." || s == ".." || strings.ContainsAny(s, "\\\x00") || s == "" && i < len(segments)-1 {
				t.Fatalf("%q has the segment %q", target, s)
			}
		}
	})
}

// Property: the name of a media object that is taken has no segment that
// begins with a dot and stays below its prefix.
func FuzzObjectName(f *testing.F) {
	for _, s := range []string{"ts/720p/1.ts", "../x", "a/.b", "a//b", "a/", "/a", "-", "a\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if !namePattern.MatchString(name) {
			return
		}
		for s := range strings.SplitSeq(name, "/") {
			if s == "" || s[0] == '.' || strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") != "" {
				t.Fatalf("%q has the segment %q", name, s)
			}
		}
	})
}
