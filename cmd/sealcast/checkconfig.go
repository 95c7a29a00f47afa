package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

func checkConfigCommand() *command {
	return &command{
		name: "check-config", args: "[COMMAND]",
		summary: "check the environment and print it without its secrets",
		long: `Reads the environment as COMMAND would (default: serve, which needs every
variable) and prints a table of each variable's value and where it comes from.
Secrets show as ` + redacted + `. It connects to nothing. Faults are printed all at
once, each with what to set.`,
		exits: []int{exitOK, exitUsage},
		newFlags: func(*flag.FlagSet) action {
			return func(_ context.Context, s *session) error { return checkConfig(s) }
		},
	}
}

func checkConfig(s *session) error {
	name := "serve"
	switch len(s.args) {
	case 0:
	case 1:
		name = s.args[0]
	default:
		return usageError{"give one command at most"}
	}
	cmd, err := findCommand(name)
	if err != nil {
		return err
	}
	if cmd.needs == nil {
		return usageError{fmt.Sprintf("%s reads no configuration", name)}
	}
	settings, err := s.cfg.load(s.environ, cmd.needs)
	writeSettings(s.stdout, settings)
	var faults *configError
	if errors.As(err, &faults) {
		return err
	}
	for _, w := range s.cfg.warnings() {
		fmt.Fprintf(s.stdout, "\nwarning: %s\n", w)
	}
	fmt.Fprintf(s.stdout, "\nThe configuration of 'sealcast %s' has no faults.\n", name)
	return nil
}

func writeSettings(w io.Writer, settings []setting) {
	tw := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintf(tw, "VARIABLE\tVALUE\tFROM\n")
	for _, v := range settings {
		shown, from := v.shown, v.from
		if shown == "" {
			shown = "-"
		}
		if from == "" {
			from = "not set"
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\n", v.name, oneLine(shown), oneLine(from))
	}
	_ = tw.Flush()
}

// oneLine keeps a value from breaking the table, or a terminal.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, s)
}
