package api

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sealcast/sealcast/internal/corpus"
)

// Every raw request of the corpus is answered over TCP as its case says, with
// nothing more, and no answer but a success shows a key or media.
func TestCorpusRequests(t *testing.T) {
	rig := newRig(t)
	words := strings.NewReplacer("{HASH}", hashA, "{CLEAR}", hashC, "{TOKEN}", rig.token(hashA), "{KEY}", testAPIKey, "{DIR}", testPrefix)
	t.Run("cases", func(t *testing.T) {
		for _, c := range corpus.Requests() {
			t.Run(c.Name, func(t *testing.T) {
				t.Parallel()
				var got []int
				for _, a := range talk(t, rig.server.Listener.Addr().String(), words.Replace(c.Wire)) {
					got = append(got, a.StatusCode)
					if a.StatusCode < 200 || a.StatusCode > 299 {
						shows(t, a)
					}
				}
				if !slices.Equal(got, c.Status) {
					t.Errorf("answered with %d, want %d", got, c.Status)
				}
			})
		}
	})
}

// talk sends raw bytes and reads answers until the server hangs up.
func talk(t *testing.T, addr, wire string) []answer {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(2 * time.Minute)) // against hanging for ever
	if _, err := io.WriteString(conn, wire); err != nil {
		t.Logf("the server hung up early: %v", err)
	}
	var answers []answer
	for r := bufio.NewReader(conn); ; {
		res, err := http.ReadResponse(r, nil)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || isReset(err) {
			return answers
		}
		if err != nil {
			t.Fatalf("after %d answers: %v", len(answers), err)
		}
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		answers = append(answers, answer{res, body})
	}
}

// isReset reports whether the server hung up before it had read everything.
func isReset(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && !op.Timeout()
}

func shows(t *testing.T, a answer) {
	t.Helper()
	for _, fill := range []byte{0xa1, 0xa2, 0xb1} {
		if bytes.Contains(a.body, bytes.Repeat([]byte{fill ^ 0xff}, 16)) {
			t.Errorf("%d shows a key", a.StatusCode)
		}
	}
	for _, secret := range []string{segment, poster, "#EXTM3U", "<MPD", testAPIKey} {
		if bytes.Contains(a.body, []byte(secret)) {
			t.Errorf("%d shows %q", a.StatusCode, secret)
		}
	}
}
