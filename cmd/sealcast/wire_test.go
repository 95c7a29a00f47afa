package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealcast/sealcast/api"
	"github.com/sealcast/sealcast/worker"
)

func TestRequestProblem(t *testing.T) {
	for code, status := range map[string]int{
		worker.CodeEncryptionSealed: 409, worker.CodePayloadInvalid: 400, worker.CodeTypeUnknown: 400,
		worker.CodePayloadTooLarge: 413, worker.CodeOptionsInvalid: 422, worker.CodeKeyReused: 409,
	} {
		err := requestProblem(fmt.Errorf("submit: %w", &worker.RequestError{Code: code, Message: "why"}))
		var p *api.Problem
		if !errors.As(err, &p) || p.Status != status || p.Code != code || p.Detail != "why" {
			t.Errorf("%s: %+v, want status %d", code, err, status)
		}
	}
	away := errors.New("the database is away")
	if got := requestProblem(away); got != away { //nolint:errorlint // the same value
		t.Errorf("another error became %v", got)
	}
}

func TestLocalStateIsKept(t *testing.T) {
	dir := t.TempDir()
	var first localState
	if err := first.complete(); err != nil {
		t.Fatal(err)
	}
	if err := writePrivate(statePath(dir), first.encode()); err != nil {
		t.Fatal(err)
	}
	second, err := readLocalState(dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(first, second); diff != "" {
		t.Errorf("state after reading (-first +second):\n%s", diff)
	}
	if fi, err := os.Stat(statePath(dir)); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, error %v, want 0600", fi.Mode(), err)
	}
	if len(first.KEK) != 64 || first.APIPort == first.MetricsPort || first.MetricsPort == first.PlayerPort {
		t.Errorf("the state is not complete: ports %d %d %d", first.APIPort, first.MetricsPort, first.PlayerPort)
	}
	if err := os.WriteFile(statePath(dir), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readLocalState(dir); err == nil {
		t.Error("a damaged state is taken: its keys would be lost")
	}
}

func TestShellEnvironmentCanBeSourced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "dev.env")
	e := environment{"A": "plain", "B": `it's "quoted" $HOME and \ more`}
	if err := writePrivate(path, e.shell()); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("sh", "-c", `. "$0" && printf '%s\n%s' "$A" "$B"`, path).Output()
	if err != nil {
		t.Fatal(err)
	}
	if want := e["A"] + "\n" + e["B"]; string(out) != want {
		t.Errorf("the shell reads %q, want %q", out, want)
	}
}
