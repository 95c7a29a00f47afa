package arrows_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/sealcast/sealcast/internal/arrows"
)

const module = "github.com/sealcast/sealcast/"

func TestArrows(t *testing.T) {
	for _, pkg := range goList(t, "-f", "{{.ImportPath}}", module+"...") {
		name := strings.TrimPrefix(pkg, module)
		if strings.HasPrefix(name, "cmd/") || name == "docker" {
			continue // cmd may reach everything
		}
		allowed, known := arrows.Allowed[name]
		if !known {
			t.Errorf("%s is not in the drawing:%s", name, arrows.Drawing)
			continue
		}
		for _, dep := range goList(t, "-deps", "-f", "{{.ImportPath}}", pkg) {
			ours, isOurs := strings.CutPrefix(dep, module)
			if isOurs && dep != pkg && !slices.Contains(allowed, ours) {
				t.Errorf("%s reaches %s, an arrow that is not in the drawing:%s", name, ours, arrows.Drawing)
			}
			for _, no := range arrows.Forbidden[name] {
				if dep == no || strings.HasPrefix(dep, no+"/") {
					t.Errorf("%s reaches %s, which is forbidden:%s", name, dep, arrows.Drawing)
				}
			}
		}
	}
}

func goList(t *testing.T, args ...string) []string {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list"}, args...)...)
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list %s: %v", strings.Join(args, " "), err)
	}
	return strings.Fields(string(out))
}
