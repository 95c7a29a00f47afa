// Package docker_test holds the files of this folder against the code: nothing
// is built or started.
package docker_test

import (
	"encoding/json"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// goSources gives the text of every Go file of the product, without tests.
func goSources(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "node_modules" || d.Name() == "testdata" || (len(d.Name()) > 2 && d.Name()[0] == '.')):
			return fs.SkipDir
		case !d.IsDir() && strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go"):
			out[path] = read(t, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

var (
	metricName = regexp.MustCompile(`(?:Name:|NewDesc\()\s*"(sealcast_[a-z0-9_]+)"`)
	metricUse  = regexp.MustCompile(`sealcast_[a-z0-9_]+`)
)

// TestDashboardShowsEveryMetric holds that the dashboard shows the metrics that
// exist, all of them and no other.
func TestDashboardShowsEveryMetric(t *testing.T) {
	declared := map[string]bool{}
	for path, text := range goSources(t) {
		for _, m := range metricName.FindAllStringSubmatch(text, -1) {
			declared[m[1]] = true
		}
		if strings.Contains(text, `Namespace: "sealcast"`) {
			t.Errorf("%s: write metric names whole, so that they can be found", path)
		}
	}
	if len(declared) == 0 {
		t.Fatal("no metric found in the sources")
	}
	shown := map[string]bool{}
	for _, expr := range dashboardExpressions(t, "grafana/dashboards/sealcast.json") {
		for _, name := range metricUse.FindAllString(expr, -1) {
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				if base := strings.TrimSuffix(name, suffix); declared[base] {
					name = base
				}
			}
			shown[name] = true
		}
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(declared)), slices.Sorted(maps.Keys(shown))); diff != "" {
		t.Errorf("metrics declared by the code (-) and shown by the dashboard (+):\n%s", diff)
	}
}

// dashboardExpressions checks the shape of a dashboard and gives its queries.
func dashboardExpressions(t *testing.T, path string) []string {
	t.Helper()
	var d struct {
		UID, Title string
		Panels     []struct {
			ID          int
			Type, Title string
			Targets     []struct {
				Expr       string
				Datasource struct{ UID string }
			}
		}
	}
	if err := json.Unmarshal([]byte(read(t, path)), &d); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	if d.UID == "" || d.Title == "" {
		t.Errorf("%s: no uid or no title", path)
	}
	var sources struct{ Datasources []struct{ UID string } }
	decodeYAML(t, "grafana/provisioning/datasources/prometheus.yaml", &sources)
	var out []string
	ids := map[int]bool{}
	for _, p := range d.Panels {
		if ids[p.ID] {
			t.Errorf("panel %q: id %d is there twice", p.Title, p.ID)
		}
		ids[p.ID] = true
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("panel %q has no query", p.Title)
		}
		for _, target := range p.Targets {
			if len(sources.Datasources) != 1 || target.Datasource.UID != sources.Datasources[0].UID {
				t.Errorf("panel %q: data source %q is not the one that is provisioned", p.Title, target.Datasource.UID)
			}
			out = append(out, target.Expr)
		}
	}
	return out
}

func decodeYAML(t *testing.T, path string, into any) {
	t.Helper()
	if err := yaml.Unmarshal([]byte(read(t, path)), into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// TestDockerfile holds what the images promise: pinned, checksummed, not root.
func TestDockerfile(t *testing.T) {
	text := read(t, "Dockerfile")
	stages := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^FROM (?:--platform=\S+ )?(\S+) AS (\S+)$`).FindAllStringSubmatch(text, -1) {
		if !stages[m[1]] && !regexp.MustCompile(`:[a-z]*\d+\.\d+\S*$`).MatchString(m[1]) {
			t.Errorf("base image %s is not pinned to a version", m[1])
		}
		stages[m[2]] = true
	}
	if n := strings.Count("\n"+text, "\nFROM "); n != len(stages) || n == 0 {
		t.Errorf("%d stages, %d of them named and well-formed", n, len(stages))
	}
	if strings.Contains(text, ":latest") || strings.Contains(text, "@latest") {
		t.Error("something is :latest")
	}
	goVersion := regexp.MustCompile(`(?m)^go (\S+)$`).FindStringSubmatch(read(t, "../go.mod"))[1]
	if !strings.Contains(text, "golang:"+goVersion+"-") {
		t.Errorf("the Go image is not that of go.mod, %s", goVersion)
	}
	for _, image := range strings.Split(text, "\nFROM debian:")[1:] {
		if !strings.Contains(image, "\nUSER 65532:65532\n") {
			t.Errorf("an image runs as root: FROM debian:%.40s…", image)
		}
	}
	if !regexp.MustCompile(`ENTRYPOINT \["sealcast"\]\nCMD \["serve"\]\n$`).MatchString(text) {
		t.Error(`the last image does not end with ENTRYPOINT ["sealcast"], CMD ["serve"]`)
	}
}

// TestPinsEqualThoseOfDeps holds that the images have the tools that "make
// deps" installs and the tests ran with.
func TestPinsEqualThoseOfDeps(t *testing.T) {
	dockerfile, install := read(t, "Dockerfile"), read(t, "../internal/deps/install.sh")
	for arg, variable := range map[string]string{
		"PACKAGER_VERSION":        "packager_version",
		"PACKAGER_TARBALL_SHA256": "packager_tarball",
		"PACKAGER_X64_SHA256":     "packager_x64",
		"PACKAGER_ARM64_SHA256":   "packager_arm64",
		"MINIO_VERSION":           "minio_version",
	} {
		here := regexp.MustCompile(`(?m)^ARG ` + arg + `=(\S+)$`).FindStringSubmatch(dockerfile)
		there := regexp.MustCompile(`(?m)^` + variable + `=(\S+)$`).FindStringSubmatch(install)
		if here == nil || there == nil || here[1] != there[1] {
			t.Errorf("%s in Dockerfile is %q, %s in install.sh is %q", arg, here, variable, there)
		}
	}
}

// TestBuildContext holds that the builder gets every package and no secret.
func TestBuildContext(t *testing.T) {
	lines := strings.Split(read(t, "../.dockerignore"), "\n")
	if !slices.Contains(lines, "*") {
		t.Fatal(".dockerignore is not a list of what is let in")
	}
	for path := range goSources(t) {
		top := strings.Split(filepath.ToSlash(path), "/")[1]
		if !slices.Contains(lines, "!"+top) {
			t.Errorf("%s does not reach the builder: .dockerignore has no line !%s", path, top)
		}
	}
	for _, line := range lines {
		if strings.HasPrefix(line, "!docker/") && line != "!docker/buckets.sh" {
			t.Errorf("%s: secrets may lie in docker/", line)
		}
	}
}
