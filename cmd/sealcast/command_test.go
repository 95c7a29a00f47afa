package main

import (
	"context"
	"flag"
	"io"
	"runtime/debug"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseArgsTakesFlagsAnywhere(t *testing.T) {
	for _, c := range []struct {
		name  string
		args  []string
		want  []string
		clear bool
		err   string
	}{
		{"before", []string{"-clear", "f"}, []string{"f"}, true, ""},
		{"behind", []string{"f", "-clear"}, []string{"f"}, true, ""},
		{"double dash", []string{"f", "--clear"}, []string{"f"}, true, ""},
		{"between", []string{"f", "-clear", "g"}, []string{"f", "g"}, true, ""},
		{"after --", []string{"--", "-clear"}, []string{"-clear"}, false, ""},
		{"after -- behind", []string{"f", "--", "-clear"}, []string{"f", "-clear"}, false, ""},
		{"mistyped", []string{"-claer"}, nil, false, "unknown flag -claer; did you mean -clear?"},
		{"unknown", []string{"-xyz"}, nil, false, "unknown flag -xyz"},
	} {
		t.Run(c.name, func(t *testing.T) {
			fs := flag.NewFlagSet("x", flag.ContinueOnError)
			fs.SetOutput(io.Discard)
			clear := fs.Bool("clear", false, "")
			got, err := parseArgs(fs, c.args)
			if err != nil || c.err != "" {
				if err == nil || err.Error() != c.err {
					t.Errorf("error %v, want %q", err, c.err)
				}
				return
			}
			if !cmp.Equal(c.want, got) || *clear != c.clear {
				t.Errorf("got %q, clear %v", got, *clear)
			}
		})
	}
}

func TestEveryCommandHasItsHelp(t *testing.T) {
	all := commands()
	for _, c := range commands() {
		all = append(all, c.subs...)
	}
	for _, c := range all {
		if c.summary == "" || c.long == "" || !slices.Contains(c.exits, exitOK) {
			t.Errorf("%s: the help is not complete", c.name)
		}
		for _, code := range c.exits {
			if exitTexts[code] == "" {
				t.Errorf("%s: exit code %d has no text", c.name, code)
			}
		}
		if c.needs != nil && !slices.Contains(c.exits, exitUsage) {
			t.Errorf("%s reads the environment and does not name exit code %d", c.name, exitUsage)
		}
		var out, errs strings.Builder
		if code := run(context.Background(), append(append([]string{"sealcast"}, strings.Fields(c.name)...), "-h"), nil, nil, &out, &errs); code != exitOK || errs.Len() > 0 {
			t.Errorf("%s -h: exit %d, stderr %q", c.name, code, &errs)
		}
		for _, line := range strings.Split(c.long, "\n") {
			if len([]rune(line)) > 90 {
				t.Errorf("%s: a line of the help has %d columns: %s", c.name, len([]rune(line)), line)
			}
		}
		if !strings.Contains(out.String(), "Exit codes:") {
			t.Errorf("%s: no exit codes in the help", c.name)
		}
	}
}

func TestEveryVariableSaysWhatToSet(t *testing.T) {
	for _, concern := range serveNeeds(&config{}) {
		for _, v := range variablesOf(concern) {
			if v.name == "" || v.set == "" {
				t.Errorf("%T.%s has no name or does not say what to set", concern, v.field)
			}
		}
	}
}

func TestNearest(t *testing.T) {
	names := []string{"serve", "api", "worker", "token", "version"}
	for in, want := range map[string]string{
		"srve": "serve", "workers": "worker", "tok": "token", "ver": "version", "apii": "api", "": "", "q": "", "xyzzy": "",
	} {
		if got := nearest(in, names); got != want {
			t.Errorf("nearest(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestVersion(t *testing.T) {
	info := &debug.BuildInfo{Main: debug.Module{Version: "v0.1.0"}, Settings: []debug.BuildSetting{
		{Key: "vcs.revision", Value: "0123456789abcdef0123"}, {Key: "vcs.modified", Value: "true"},
	}}
	if got := version(info, true); !strings.HasPrefix(got, "sealcast v0.1.0 0123456789ab+changes go1.") {
		t.Errorf("version: %s", got)
	}
	if got := version(nil, false); !strings.HasPrefix(got, "sealcast (unknown) go1.") {
		t.Errorf("version without build information: %s", got)
	}
}
