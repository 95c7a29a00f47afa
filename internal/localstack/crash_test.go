package localstack

import (
	"os"
	"path/filepath"
	"testing"
)

// What was written is there after a crash of each server, on the same ports.
func TestCrashedServersComeBack(t *testing.T) {
	s := start(t, keptDir(t))
	write(t, s)
	urls := []string{s.DatabaseURL, s.RedisURL, s.S3Endpoint}
	for _, name := range []string{Postgres, Redis, MinIO} {
		if err := s.Crash(name); err != nil {
			t.Fatal(err)
		}
		if err := s.Crash(name); err == nil {
			t.Errorf("%s crashed twice", name)
		}
		if err := s.Revive(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	for i, now := range []string{s.DatabaseURL, s.RedisURL, s.S3Endpoint} {
		if now != urls[i] {
			t.Errorf("another address after the crash: %d", i)
		}
	}
	read(t, s)
	if _, err := os.Stat(filepath.Join(s.Data(Redis), "appendonlydir")); err != nil {
		t.Error(err)
	}
	select {
	case err := <-s.Died():
		t.Errorf("a crash was taken for an accident: %v", err)
	default:
	}
}
