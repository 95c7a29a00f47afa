package localstack

import (
	"cmp"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// debianPostgres is where Debian and Ubuntu keep the server programs: not in
// PATH, and one folder per major version.
var debianPostgres = "/usr/lib/postgresql/*/bin"

// tools is where the programs are.
type tools struct {
	redis    string
	minio    string
	postgres []string // folders with initdb and postgres, the best first
}

// findTools finds every program, or says all that are missing at once.
func findTools() (tools, error) {
	var t tools
	var missing []string
	find := func(names ...string) string {
		for _, name := range names {
			if path, err := exec.LookPath(name); err == nil {
				if path, err = filepath.Abs(path); err == nil {
					return path
				}
			}
		}
		missing = append(missing, names[0])
		return ""
	}
	t.postgres = findPostgres()
	if len(t.postgres) == 0 {
		missing = append(missing, "postgres and initdb")
	}
	t.redis = find("redis-server", "valkey-server")
	t.minio = find("minio")
	if len(missing) > 0 {
		return t, fmt.Errorf("not installed: %s; run \"make deps\" (it also fills .sealcast/bin, which must be in PATH)",
			strings.Join(missing, ", "))
	}
	return t, nil
}

// findPostgres lists the folders that hold initdb and postgres: that of PATH
// first, then Debian's, newest first.
func findPostgres() []string {
	var dirs []string
	add := func(dir string) {
		for _, name := range []string{"initdb", "postgres"} {
			if _, err := exec.LookPath(filepath.Join(dir, name)); err != nil {
				return
			}
		}
		if !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	if path, err := exec.LookPath("initdb"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			if path, err = filepath.Abs(path); err == nil {
				add(filepath.Dir(path))
			}
		}
	}
	found, _ := filepath.Glob(debianPostgres)
	slices.SortFunc(found, func(a, b string) int { return cmp.Compare(versionOf(b), versionOf(a)) })
	for _, dir := range found {
		add(dir)
	}
	return dirs
}

var number = regexp.MustCompile(`\d+`)

// versionOf is the major version in a path like /usr/lib/postgresql/15/bin.
func versionOf(dir string) int {
	n, _ := strconv.Atoi(number.FindString(filepath.Base(filepath.Dir(dir))))
	return n
}
