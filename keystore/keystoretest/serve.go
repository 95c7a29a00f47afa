package keystoretest

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/sealcast/sealcast/internal/cenc"
	"github.com/sealcast/sealcast/keystore"
)

// notServed checks that viewers get nothing, by default and by KID.
func notServed(t *testing.T, s keystore.Store, hash string, kid cenc.KID) {
	t.Helper()
	for name, id := range map[string]*cenc.KID{"default": nil, "kid": &kid} {
		if key, err := s.Served(t.Context(), hash, id); !errors.Is(err, keystore.ErrNotFound) || !key.Content.IsZero() {
			t.Errorf("served by %s: %v, want ErrNotFound and no key", name, err)
		}
	}
}

func served(t *testing.T, s keystore.Store, hash string, kid *cenc.KID) keystore.Key {
	t.Helper()
	key, err := s.Served(t.Context(), hash, kid)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func pendingIsNotServed(t *testing.T, h Harness) {
	s := h.Open(t, h.ring(t, 1))
	notServed(t, s, asset(1), cenc.NewKID())
	key := issue(t, s, request(1))
	notServed(t, s, asset(1), key.KID)
	if _, err := s.Get(t.Context(), asset(1), key.KID); err != nil {
		t.Error("the verify gate cannot read a pending key:", err)
	}
}

func activationServes(t *testing.T, h Harness) {
	s := h.Open(t, h.ring(t, 1))
	first, ts := issue(t, s, request(1)), issue(t, s, second(request(1)))
	if n := publish(t, h, s, "job-1", 1); n != 2 {
		t.Errorf("%d keys activated, want 2", n)
	}
	same(t, served(t, s, asset(1), nil), active(first))
	same(t, served(t, s, asset(1), &ts.KID), active(ts))
	if n := publish(t, h, s, "job-1", 1); n != 0 {
		t.Errorf("%d keys activated twice", n)
	}
}

func activationOfAnotherAttempt(t *testing.T, h Harness) {
	s := h.Open(t, h.ring(t, 1))
	first := issue(t, s, request(1))
	r := request(1)
	r.Attempt = 2
	retry := issue(t, s, r)
	r.JobID = otherJob
	issue(t, s, r)
	if n := publish(t, h, s, "job-1", 2); n != 1 {
		t.Errorf("%d keys activated, want 1", n)
	}
	same(t, served(t, s, asset(1), nil), active(retry))
	if _, err := s.Served(t.Context(), asset(1), &first.KID); !errors.Is(err, keystore.ErrNotFound) {
		t.Errorf("key of a dead attempt: %v, want ErrNotFound", err)
	}
}

func activationRollsBack(t *testing.T, h Harness) {
	s := h.Open(t, h.ring(t, 1))
	key := issue(t, s, request(1))
	tx, err := h.Pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if n, err := s.Activate(t.Context(), tx, "job-1", 1); n != 1 || err != nil {
		t.Errorf("activate: %d, %v", n, err)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	notServed(t, s, asset(1), key.KID)
}

func oneDefault(t *testing.T, h Harness) {
	s := h.Open(t, h.ring(t, 1))
	first := issue(t, s, request(1))
	r := request(1)
	r.JobID = otherJob
	early := issue(t, s, r) // while none was served, both may hope
	publish(t, h, s, "job-1", 1)

	err := pgx.BeginFunc(t.Context(), h.Pool, func(tx pgx.Tx) error {
		_, err := s.Activate(t.Context(), tx, otherJob, 1)
		return err
	})
	if !errors.Is(err, keystore.ErrConflict) {
		t.Errorf("activate a second default: %v, want ErrConflict", err)
	}
	r.Attempt = 2
	if _, err := s.Issue(t.Context(), r); !errors.Is(err, keystore.ErrConflict) {
		t.Errorf("issue a second default: %v, want ErrConflict", err)
	}
	same(t, served(t, s, asset(1), nil), active(first))
	if _, err := s.Served(t.Context(), asset(1), &early.KID); !errors.Is(err, keystore.ErrNotFound) {
		t.Errorf("refused default: %v, want ErrNotFound", err)
	}
}

func defaultAndKID(t *testing.T, h Harness) {
	s := h.Open(t, h.ring(t, 1))
	first, ts := issue(t, s, request(1)), issue(t, s, second(request(1)))
	publish(t, h, s, "job-1", 1)
	r := second(request(1)) // a later generation, every key by its KID
	r.JobID = otherJob
	later := issue(t, s, r)
	publish(t, h, s, otherJob, 1)

	same(t, served(t, s, asset(1), nil), active(first))
	for _, key := range []keystore.Key{first, ts, later} {
		same(t, served(t, s, asset(1), &key.KID), active(key))
	}
	exec(t, h, `UPDATE content_keys SET state = 'revoked' WHERE kid = $1`, first.KID[:])
	notServed(t, s, asset(1), first.KID) // another key never stands in
}

func keyOfAnotherAsset(t *testing.T, h Harness) {
	s := h.Open(t, h.ring(t, 1))
	mine := issue(t, s, request(1))
	r := request(2)
	r.JobID = otherJob
	theirs := issue(t, s, r)
	publish(t, h, s, "job-1", 1)
	publish(t, h, s, otherJob, 1)
	for _, hash := range []string{asset(1), asset(3), "", "'", strings.Repeat("x", 1<<16)} {
		if _, err := s.Served(t.Context(), hash, &theirs.KID); !errors.Is(err, keystore.ErrNotFound) {
			t.Errorf("served: %v, want ErrNotFound", err)
		}
		if _, err := s.Get(t.Context(), hash, theirs.KID); !errors.Is(err, keystore.ErrNotFound) {
			t.Errorf("get: %v, want ErrNotFound", err)
		}
	}
	if _, err := s.Served(t.Context(), asset(1), &cenc.KID{}); !errors.Is(err, keystore.ErrNotFound) {
		t.Errorf("zero KID: %v, want ErrNotFound, not the default key", err)
	}
	same(t, served(t, s, asset(1), nil), active(mine))
}

func states(t *testing.T, h Harness) {
	s := h.Open(t, h.ring(t, 1))
	key := issue(t, s, request(1))
	publish(t, h, s, "job-1", 1)

	exec(t, h, `UPDATE content_keys SET state = 'retiring'`)
	key.State = keystore.StateRetiring
	same(t, served(t, s, asset(1), nil), key)
	same(t, served(t, s, asset(1), &key.KID), key)

	exec(t, h, `UPDATE content_keys SET state = 'revoked'`)
	key.State = keystore.StateRevoked
	notServed(t, s, asset(1), key.KID)
	got, err := s.Get(t.Context(), asset(1), key.KID)
	if err != nil {
		t.Fatal(err)
	}
	same(t, got, key)

	exec(t, h, `UPDATE content_keys SET state = 'shredded', wrapped_key = NULL, wrap_nonce = NULL`)
	notServed(t, s, asset(1), key.KID)
	if _, err := s.Get(t.Context(), asset(1), key.KID); !errors.Is(err, keystore.ErrNotFound) {
		t.Errorf("get of a shredded key: %v, want ErrNotFound", err)
	}
}

func shred(t *testing.T, h Harness) {
	s := h.Open(t, h.ring(t, 1))
	keys := []keystore.Key{issue(t, s, request(1)), issue(t, s, second(request(1)))}
	publish(t, h, s, "job-1", 1)
	pending := second(request(1))
	pending.Attempt = 2
	keys = append(keys, issue(t, s, pending))
	r := request(2)
	r.JobID = otherJob
	theirs := issue(t, s, r)
	publish(t, h, s, otherJob, 1)

	shredAll := func(commit error) (n int64) {
		t.Helper()
		err := pgx.BeginFunc(t.Context(), h.Pool, func(tx pgx.Tx) (err error) {
			if n, err = s.Shred(t.Context(), tx, asset(1)); err == nil {
				err = commit
			}
			return err
		})
		if !errors.Is(err, commit) {
			t.Fatal(err)
		}
		return n
	}
	shredAll(errors.New("roll back"))
	same(t, served(t, s, asset(1), nil), active(keys[0]))

	if n := shredAll(nil); n != 3 {
		t.Errorf("%d keys shredded, want 3", n)
	}
	for _, key := range keys {
		notServed(t, s, asset(1), key.KID)
		if _, err := s.Get(t.Context(), asset(1), key.KID); !errors.Is(err, keystore.ErrNotFound) {
			t.Errorf("get: %v, want ErrNotFound", err)
		}
	}
	var left int
	if err := h.Pool.QueryRow(t.Context(), `SELECT count(*) FROM content_keys WHERE hash = $1 AND num_nonnulls(wrapped_key, wrap_nonce) > 0`,
		asset(1)).Scan(&left); err != nil || left != 0 {
		t.Errorf("%d wrapped keys are left, %v", left, err)
	}
	if n := shredAll(nil); n != 0 {
		t.Errorf("%d keys shredded twice", n)
	}
	same(t, served(t, s, asset(2), nil), active(theirs))
	if _, err := s.Issue(t.Context(), request(1)); !errors.Is(err, keystore.ErrConflict) {
		t.Errorf("the shredded binding: %v, want ErrConflict", err)
	}

	again := request(1) // the asset comes back
	again.JobID = "job-3"
	fresh := issue(t, s, again)
	publish(t, h, s, "job-3", 1)
	same(t, served(t, s, asset(1), nil), active(fresh))
}

func keysRedact(t *testing.T, h Harness) {
	keys := h.ring(t, 1)
	s := h.Open(t, keys)
	key := issue(t, s, request(1))
	_, conflict := s.Issue(t.Context(), func() keystore.Request { r := request(1); r.Scheme = cenc.SchemeCENC; return r }())
	exec(t, h, `UPDATE content_keys SET wrap_nonce = decode(repeat('00', 12), 'hex')`)
	_, integrity := s.Get(t.Context(), asset(1), key.KID)

	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%b"} {
		for _, v := range []any{
			key, &key,
			[]keystore.Key{key},
			map[string]keystore.Key{"k": key},
			keys, *keys, s, conflict, integrity,
			struct {
				in  *keystore.Keyring
				val keystore.Keyring
			}{keys, *keys},
		} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
	}
	for _, v := range []any{key, &key, keys, *keys} {
		if err := json.NewEncoder(&out).Encode(v); err != nil {
			t.Fatal(err)
		}
		slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "v", v)
		slog.New(slog.NewTextHandler(&out, nil)).Info("x", "v", v)
	}
	printed := out.String()
	for what, secret := range map[string][]byte{"content key": key.Content.Bytes(), "KEK": KEK(1)} {
		for form, text := range map[string]string{
			"raw":     string(secret),
			"hex":     hex.EncodeToString(secret),
			"base64":  base64.StdEncoding.EncodeToString(secret)[:16],
			"decimal": strings.Trim(fmt.Sprint(secret[:8]), "[]"),
			"go":      strings.TrimPrefix(fmt.Sprintf("%#v", secret[:8]), "[]byte{"),
		} {
			if strings.Contains(strings.ToLower(printed), strings.ToLower(strings.TrimSuffix(text, "}"))) {
				t.Errorf("the %s shows as %s", what, form)
			}
		}
	}
}
