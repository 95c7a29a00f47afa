package main

import (
	"context"
	"flag"
	"fmt"
	"runtime"
	"runtime/debug"
)

// release is set by the linker where a build has no version control at hand,
// as in the container image: -ldflags '-X main.release=…'.
var release string

func versionCommand() *command {
	return &command{
		name: "version", summary: "print the version",
		long:  "Prints the version and the commit it was built from, the Go version and the platform.",
		exits: []int{exitOK},
		newFlags: func(*flag.FlagSet) action {
			return func(_ context.Context, s *session) error {
				_, err := fmt.Fprintln(s.stdout, version(debug.ReadBuildInfo()))
				return err
			}
		},
	}
}

// version writes the build information as one line.
func version(info *debug.BuildInfo, ok bool) string {
	v, commit := "(unknown)", ""
	if release != "" {
		v = release
	} else if ok {
		if info.Main.Version != "" {
			v = info.Main.Version
		}
		dirty := ""
		for _, s := range info.Settings {
			switch {
			case s.Key == "vcs.revision":
				commit = s.Value[:min(len(s.Value), 12)]
			case s.Key == "vcs.modified" && s.Value == "true":
				dirty = "+changes"
			}
		}
		if commit != "" {
			commit = " " + commit + dirty
		}
	}
	return fmt.Sprintf("sealcast %s%s %s %s/%s", v, commit, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
