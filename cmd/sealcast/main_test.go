package main

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain lets the test binary act as the program: scripts and end-to-end
// tests run it under the name sealcast, which is in their PATH.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"sealcast": main})
}

// TestScripts runs testdata/script/*.txtar over the program.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata/script", RequireExplicitExec: true, RequireUniqueNames: true})
}
