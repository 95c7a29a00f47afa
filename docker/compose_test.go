package docker_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

type service struct {
	Image       string
	Build       *struct{ Target string }
	Command     any
	Environment map[string]string
	ReadOnly    bool     `yaml:"read_only"`
	CapDrop     []string `yaml:"cap_drop"`
	SecurityOpt []string `yaml:"security_opt"`
	Tmpfs       []string
	Ports       []string
	Secrets     []string
	Restart     string
	Healthcheck *struct{ Test []string }
	StopGrace   string                                `yaml:"stop_grace_period"`
	DependsOn   map[string]struct{ Condition string } `yaml:"depends_on"`
	Deploy      struct{ Replicas int }
}

type compose struct {
	Services map[string]service
	Secrets  map[string]struct{ File string }
}

func load(t *testing.T) compose {
	t.Helper()
	var c compose
	decodeYAML(t, "compose.yaml", &c)
	if len(c.Services) == 0 {
		t.Fatal("no services")
	}
	return c
}

// TestServices holds what every container gets.
func TestServices(t *testing.T) {
	c := load(t)
	for _, name := range []string{"api", "worker", "migrate", "postgres", "redis", "minio", "buckets", "prometheus", "grafana"} {
		if _, ok := c.Services[name]; !ok {
			t.Errorf("no service %s", name)
		}
	}
	pinned := regexp.MustCompile(`:(v?\d+\.\d+|dev$)`)
	for name, s := range c.Services {
		t.Run(name, func(t *testing.T) {
			if !pinned.MatchString(s.Image) || strings.Contains(s.Image, "latest") {
				t.Errorf("image %s is not pinned", s.Image)
			}
			if !s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) || !slices.Contains(s.SecurityOpt, "no-new-privileges:true") || !slices.Contains(s.Tmpfs, "/tmp") {
				t.Error("is not hardened: read_only, cap_drop ALL, no-new-privileges, /tmp in memory")
			}
			for _, p := range s.Ports {
				if !strings.HasPrefix(p, "127.0.0.1:") {
					t.Errorf("port %s is open to the network", p)
				}
			}
			once := s.Restart == "no"
			if !once && s.Healthcheck == nil {
				t.Error("has no health check")
			}
			for dep, on := range s.DependsOn {
				want := "service_healthy"
				if c.Services[dep].Restart == "no" {
					want = "service_completed_successfully"
				}
				if on.Condition != want {
					t.Errorf("depends on %s by %q, want %q", dep, on.Condition, want)
				}
			}
			for _, secret := range s.Secrets {
				if !strings.HasPrefix(c.Secrets[secret].File, "./secrets/") {
					t.Errorf("secret %s is no file: with a read-only root no other kind works", secret)
				}
			}
			for variable, value := range s.Environment {
				if file, ok := strings.CutPrefix(value, "/run/secrets/"); ok && !slices.Contains(s.Secrets, file) {
					t.Errorf("%s names the secret %s, which the container does not get", variable, file)
				}
			}
		})
	}
	if n := c.Services["worker"].Deploy.Replicas; n != 2 {
		t.Errorf("%d workers, want 2", n)
	}
}

// TestWorkersMayDrain holds that Docker waits for jobs for at least as long as
// the worker does.
func TestWorkersMayDrain(t *testing.T) {
	w := load(t).Services["worker"]
	grace, err := time.ParseDuration(w.StopGrace)
	if err != nil {
		t.Fatal(err)
	}
	drain, err := time.ParseDuration(w.Environment["DRAIN_TIMEOUT"])
	if err != nil {
		t.Fatal(err)
	}
	if grace < drain {
		t.Errorf("stop_grace_period %s is shorter than DRAIN_TIMEOUT %s", grace, drain)
	}
}

// TestRedisKeepsTasks holds that the queue neither evicts nor forgets.
func TestRedisKeepsTasks(t *testing.T) {
	command := fmt.Sprint(load(t).Services["redis"].Command)
	for _, want := range []string{"maxmemory-policy noeviction", "appendonly yes", "requirepass"} {
		if !strings.Contains(command, want) {
			t.Errorf("redis runs without %q", want)
		}
	}
}

// TestEnvironment holds the variables of our containers against those that
// cmd/sealcast reads: no unknown one, every required one.
func TestEnvironment(t *testing.T) {
	concerns := concernsOf(t)
	needs := map[string][]string{
		"api": needsOf(t, "apiNeeds"), "worker": needsOf(t, "workerNeeds"), "migrate": {"Database", "Log"},
	}
	kek := regexp.MustCompile(`^KEK_[1-9][0-9]*$`)
	for name, s := range load(t).Services {
		if s.Image != "sealcast:dev" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			known := map[string]bool{} // to: required
			for _, concern := range needs[name] {
				maps.Copy(known, concerns[concern])
			}
			if len(known) == 0 {
				t.Fatalf("cmd/sealcast has no such command")
			}
			_, keys := known["KEK_PRIMARY"]
			given, versions := map[string]bool{}, 0
			for variable := range s.Environment {
				base := strings.TrimSuffix(variable, "_FILE")
				given[base] = true
				if keys && kek.MatchString(base) {
					versions++
					continue
				}
				if _, ok := known[base]; !ok {
					t.Errorf("%s is not read by sealcast %s", variable, name)
				}
			}
			for variable, required := range known {
				if required && !given[variable] {
					t.Errorf("%s is required", variable)
				}
			}
			if keys && versions == 0 {
				t.Error("no KEK")
			}
		})
	}
}

// concernsOf reads the fields of cmd/sealcast's config struct: for each the
// variables of its type, and whether they are required.
func concernsOf(t *testing.T) map[string]map[string]bool {
	t.Helper()
	structs := map[string]*ast.StructType{}
	ast.Inspect(parse(t, "../cmd/sealcast/config.go"), func(n ast.Node) bool {
		if spec, ok := n.(*ast.TypeSpec); ok {
			if s, ok := spec.Type.(*ast.StructType); ok {
				structs[spec.Name.Name] = s
			}
		}
		return true
	})
	if structs["config"] == nil {
		t.Fatal("cmd/sealcast/config.go has no struct config")
	}
	out := map[string]map[string]bool{}
	for _, concern := range structs["config"].Fields.List {
		kind, ok := concern.Type.(*ast.Ident)
		if !ok || structs[kind.Name] == nil {
			continue
		}
		variables := map[string]bool{}
		for _, f := range structs[kind.Name].Fields.List {
			if f.Tag == nil {
				continue
			}
			tag, err := strconv.Unquote(f.Tag.Value)
			if err != nil {
				t.Fatal(err)
			}
			name, opts, _ := strings.Cut(reflect.StructTag(tag).Get("env"), ",")
			if name != "" && name != "-" {
				variables[name] = strings.Contains(opts, "required")
			}
		}
		for _, name := range concern.Names {
			out[name.Name] = variables
		}
	}
	return out
}

// needsOf reads which concerns a function such as apiNeeds returns: []any{&c.Public, …}.
func needsOf(t *testing.T, function string) []string {
	t.Helper()
	var out []string
	for _, decl := range parse(t, "../cmd/sealcast/serve.go").Decls {
		if f, ok := decl.(*ast.FuncDecl); ok && f.Name.Name == function {
			ast.Inspect(f.Body, func(n ast.Node) bool {
				if sel, ok := n.(*ast.SelectorExpr); ok {
					out = append(out, sel.Sel.Name)
				}
				return true
			})
		}
	}
	if len(out) == 0 {
		t.Fatalf("cmd/sealcast/serve.go has no function %s that names concerns", function)
	}
	return out
}

func parse(t *testing.T, path string) *ast.File {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestEnvExample holds that .env.example has every setting that compose.yaml
// asks for, and no other.
func TestEnvExample(t *testing.T) {
	asked := map[string]bool{}
	for _, m := range regexp.MustCompile(`[^$]\$\{([A-Z0-9_]+)`).FindAllStringSubmatch(read(t, "compose.yaml"), -1) {
		asked[m[1]] = true
	}
	given := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^([A-Z0-9_]+)=`).FindAllStringSubmatch(read(t, ".env.example"), -1) {
		given[m[1]] = true
	}
	a, g := slices.Sorted(maps.Keys(asked)), slices.Sorted(maps.Keys(given))
	if !slices.Equal(a, g) {
		t.Errorf("compose.yaml asks for %v\n.env.example has %v", a, g)
	}
}

// TestOtherFilesParse decodes the configurations of Prometheus and Grafana.
func TestOtherFilesParse(t *testing.T) {
	var prometheus struct {
		ScrapeConfigs []struct {
			JobName string `yaml:"job_name"`
			DNS     []struct {
				Names []string
				Port  int
			} `yaml:"dns_sd_configs"`
		} `yaml:"scrape_configs"`
	}
	decodeYAML(t, "prometheus/prometheus.yml", &prometheus)
	services := load(t).Services
	for _, s := range prometheus.ScrapeConfigs {
		for _, d := range s.DNS {
			for _, name := range d.Names {
				if got, want := services[name].Environment["METRICS_ADDR"], fmt.Sprintf(":%d", d.Port); got != want {
					t.Errorf("Prometheus asks %s at port %d, and its METRICS_ADDR is %q", name, d.Port, got)
				}
			}
		}
	}
	var provider struct {
		Providers []struct{ Options struct{ Path string } }
	}
	decodeYAML(t, "grafana/provisioning/dashboards/sealcast.yaml", &provider)
	if len(prometheus.ScrapeConfigs) == 0 || len(provider.Providers) == 0 {
		t.Error("no scrape job, or no provider of dashboards")
	}
}
