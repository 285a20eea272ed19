package page

import (
	"flag"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

var shots = flag.Bool("shots", false, "write pictures of the page to docs/images")

// stage serves the page of a sample that can be changed by orders.
type stage struct {
	sample atomic.Pointer[sample]
	page   *httptest.Server
}

// control obeys the orders of status.test.mjs.
func (s *stage) control(w http.ResponseWriter, r *http.Request) {
	name := r.FormValue("name")
	now := s.sample.Load()
	switch order := strings.TrimPrefix(r.URL.Path, "/"); order {
	case "reset":
		s.sample.Store(newSample())
	case "eject":
		now.set(name, func(in *Instance) { in.State, in.Reason, in.WaitSeconds = Ejected, "reset", 5 })
	case "remove":
		now.edit(func(st *Status) {
			for m := range st.Models {
				tier := &st.Models[m].Tiers[0]
				for i := range tier.Instances {
					if tier.Instances[i].Name == name {
						tier.Instances = append(tier.Instances[:i:i], tier.Instances[i+1:]...)
						return
					}
				}
			}
		})
	case "empty-model":
		now.edit(func(st *Status) {
			for m := range st.Models {
				if st.Models[m].Name == name {
					st.Models[m].State = ModelEmpty
				}
			}
		})
	case "reject":
		now.edit(func(st *Status) {
			st.Config.Valid = false
			st.Config.Error = `12:7: instances[2]: unknown member "wieght", did you mean "weight"?`
		})
	case "nothing":
		now.edit(func(st *Status) {
			*st = Status{Version: st.Version, Started: st.Started, Now: st.Now, Config: Config{Valid: true}}
		})
	case "hostile":
		s.sample.Store(hostile())
	case "large":
		models, _ := strconv.Atoi(r.FormValue("models"))
		instances, _ := strconv.Atoi(r.FormValue("instances"))
		s.sample.Store(large(models, instances))
	case "cut":
		s.page.CloseClientConnections()
	default:
		http.Error(w, "no such order: "+order, http.StatusNotFound)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// TestBrowser runs the tests of status.test.mjs in Chromium.
func TestBrowser(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("skipped: node is not installed")
	}
	browser, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("skipped: chromium is not installed")
	}
	for _, module := range []string{"playwright-core", "axe-core"} {
		if _, err := os.Stat(filepath.Join("browser", "node_modules", module)); err != nil {
			t.Skipf("skipped: the npm package %s is not installed; run npm ci in internal/page/browser", module)
		}
	}
	s := &stage{}
	s.sample.Store(newSample())
	p := Handler(func() *Status { return s.sample.Load().take() }, Options{Base: "/ai_gateway/ui/", Recordings: func() string { return "/ai_gateway/records" }})
	s.page = httptest.NewServer(p)
	defer s.page.Close()
	defer p.Close()
	control := httptest.NewServer(http.HandlerFunc(s.control))
	defer control.Close()

	cmd := exec.CommandContext(t.Context(), node, "--test", "--test-reporter=spec", "--test-timeout=900000", "status.test.mjs")
	cmd.Dir = "browser"
	cmd.WaitDelay = 10 * time.Second
	cmd.Env = append(os.Environ(), "PAGE="+s.page.URL+"/ai_gateway/ui/", "CONTROL="+control.URL, "CHROMIUM="+browser)
	if *shots {
		folder, err := filepath.Abs("../../docs/images")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(folder, 0o755); err != nil {
			t.Fatal(err)
		}
		cmd.Env = append(cmd.Env, "SHOTS="+folder)
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("node --test status.test.mjs: %v\n%s", err, out)
	}
	t.Logf("%s", out)
}
