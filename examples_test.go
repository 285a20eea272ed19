package aigateway

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// metricNames are the full names of all metrics, as Prometheus stores them.
func metricNames() map[string]bool {
	ch := make(chan *prometheus.Desc, 100)
	for _, c := range collectors {
		c.Describe(ch)
	}
	close(ch)
	names := make(map[string]bool)
	for d := range ch {
		name := regexp.MustCompile(`fqName: "([^"]+)"`).FindStringSubmatch(d.String())[1]
		names[name] = true
		if strings.HasSuffix(name, "_seconds") {
			names[name+"_bucket"] = true
		}
	}
	return names
}

var metricName = regexp.MustCompile(`caddy_ai_gateway_[a-z_]+`)

// wantMetrics checks that text names no metric that there is not.
func wantMetrics(t *testing.T, file, text string) {
	t.Helper()
	known, found := metricNames(), 0
	for _, name := range metricName.FindAllString(text, -1) {
		found++
		if !known[name] {
			t.Errorf("%s: there is no metric %s", file, name)
		}
	}
	if found == 0 {
		t.Errorf("%s names no metric", file)
	}
}

// TestReadmeMetrics guards that both READMEs have a row for every metric and for every
// field of the access log.
func TestReadmeMetrics(t *testing.T) {
	for _, file := range []string{"README.md", "README.zh.md"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		wantMetrics(t, file, string(text))
		for name := range metricNames() {
			if !strings.HasSuffix(name, "_bucket") && !strings.Contains(string(text), "\n| `"+name+"` |") {
				t.Errorf("%s has no row for %s", file, name)
			}
		}
		for _, name := range told {
			if !strings.Contains(string(text), "\n| `"+name+"` |") {
				t.Errorf("%s has no row for the field %s", file, name)
			}
		}
	}
}

// TestPrometheusRules guards that the alerts name metrics that there are, and fire when
// they should and only then, and that the queries of docs are PromQL.
func TestPrometheusRules(t *testing.T) {
	for _, file := range []string{"examples/prometheus-rules.yml", "examples/queries.yml"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		wantMetrics(t, file, string(text))
	}
	runPromtool(t, "check", "rules", "examples/queries.yml")
	runPromtool(t, "test", "rules", "testdata/prometheus-rules-test.yml")
}

// TestGrafanaDashboard guards that the dashboard is JSON, that its panels do not lie
// upon each other, and that its queries are PromQL over metrics that there are.
func TestGrafanaDashboard(t *testing.T) {
	text, err := os.ReadFile("examples/grafana-dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			ID      int
			Type    string
			Title   string
			GridPos struct{ X, Y, W, H int }
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	wantMetrics(t, "grafana-dashboard.json", string(text))
	taken := make(map[[2]int]string)
	ids := make(map[int]bool)
	rules := "groups:\n- name: dashboard\n  rules:\n"
	queries := 0
	for _, p := range dashboard.Panels {
		if ids[p.ID] {
			t.Errorf("panel %q: ID %d is taken", p.Title, p.ID)
		}
		ids[p.ID] = true
		for x := range p.GridPos.W {
			for y := range p.GridPos.H {
				place := [2]int{p.GridPos.X + x, p.GridPos.Y + y}
				if other := taken[place]; other != "" || place[0] >= 24 {
					t.Fatalf("panel %q lies upon %q or beside the grid", p.Title, other)
				}
				taken[place] = p.Title
			}
		}
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("panel %q shows nothing", p.Title)
		}
		for _, target := range p.Targets {
			queries++
			expr := strings.NewReplacer("$__rate_interval", "5m", "$model", ".*").Replace(target.Expr)
			rules += fmt.Sprintf("  - record: query:%d\n    expr: %q\n", queries, expr)
		}
	}
	path := filepath.Join(t.TempDir(), "rules.yml")
	writeFile(t, path, rules)
	runPromtool(t, "check", "rules", path)
	t.Logf("%d panels, %d queries", len(dashboard.Panels), queries)
}

// runPromtool runs promtool, which Debian has in its package prometheus.
func runPromtool(t *testing.T, args ...string) {
	t.Helper()
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not here")
	}
	if out, err := exec.Command(promtool, args...).CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}
