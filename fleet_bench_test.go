package aigateway

import (
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
)

// largeFleet is a file with 10,000 instances, of so many models. Version makes it
// differ in every instance.
func largeFleet(models, version int, strategy string) string {
	const count = 10_000
	var b strings.Builder
	fmt.Fprintf(&b, `{"record": {"enabled": false}, "load_balancing_strategy": %q, "instances": [`, strategy)
	for n := range count {
		fmt.Fprintf(&b, "\n\t{\"url\": \"http://10.%d.%d.%d:8000/v1\", \"model_name\": \"model-%d\", \"api_key\": \"key-%d\", \"weight\": %d},",
			n>>16, n>>8&255, n&255, n%models, n, 1+(n+version)%3)
	}
	return b.String() + "\n]}"
}

// loadLarge returns a store with a file of 10,000 instances that nobody watches.
func loadLarge(tb testing.TB, models int, strategy string) *store {
	tb.Helper()
	s := &store{path: filepath.Join(tb.TempDir(), "config.json5"), events: newBulletin()}
	s.logger.Store(zap.NewNop())
	writeFile(tb, s.path, largeFleet(models, 0, strategy))
	if _, _, err := s.load(); err != nil {
		tb.Fatal(err)
	}
	return s
}

// BenchmarkSwap10k puts a file in force in which each of 10,000 instances has
// changed: reading, parsing, checking, building and comparing.
func BenchmarkSwap10k(b *testing.B) {
	for _, models := range []int{1, 1000} {
		b.Run(fmt.Sprintf("models=%d", models), func(b *testing.B) {
			s := loadLarge(b, models, strategyRoundRobin)
			texts := [2]string{largeFleet(models, 1, strategyRoundRobin), largeFleet(models, 2, strategyRoundRobin)}
			b.ReportAllocs()
			for n := 0; b.Loop(); n++ {
				b.StopTimer()
				writeFile(b, s.path, texts[n%2])
				b.StartTimer()
				changed, _, err := s.load()
				if err != nil || changed.changed.total != 10_000 {
					b.Fatalf("got %v and error %v, want 10,000 changed instances", changed, err)
				}
			}
		})
	}
}

// BenchmarkPick10k chooses an instance among 10,000, as the first step of a request:
// the pool by its name, then the policy.
func BenchmarkPick10k(b *testing.B) {
	for _, strategy := range strategies {
		for _, models := range []int{1, 1000} {
			b.Run(fmt.Sprintf("%s/models=%d", strategy, models), func(b *testing.B) {
				s := loadLarge(b, models, strategy)
				snap, p := s.snapshot(), newPolicy(nil, strategy)
				// A load of four requests for each instance, so that none is idle.
				for _, i := range snap.fleet.instances {
					i.state.inFlight.Store(4)
				}
				names := make([]string, models)
				for n := range names {
					names[n] = fmt.Sprintf("model-%d", n)
				}
				x := new(exchange)
				b.ReportAllocs()
				for n := 0; b.Loop(); n++ {
					x.pool, x.now = snap.fleet.pool(names[n%models]), clock()
					if p.pick(x.pool.tiers[primary], x) == nil {
						b.Fatal("got no instance")
					}
				}
			})
		}
	}
}

// TestLargeFleet guards row F7: the heap for a file of 10,000 instances is at most
// 100 MiB, in force and at any moment of a swap: also if nothing that the swap
// allocates were collected.
func TestLargeFleet(t *testing.T) {
	const limit = 100 << 20
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	s := loadLarge(t, 1000, strategyLeastConnections)
	stays := heap() - before
	writeFile(t, s.path, largeFleet(1000, 1, strategyLeastConnections))
	began := time.Now()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	allocated := m.TotalAlloc
	changed, _, err := s.load()
	took := time.Since(began)
	runtime.ReadMemStats(&m)
	if err != nil || changed.changed.total != 10_000 || len(s.snapshot().fleet.pools) != 1000 {
		t.Fatalf("got %v and error %v, want 10,000 changed instances of 1,000 models", changed, err)
	}
	allocated = m.TotalAlloc - allocated
	after := heap() - before
	t.Logf("10,000 instances: swap in %v; %.1f MiB in force, %.1f MiB after a swap, which allocates %.1f MiB",
		took, mib(stays), mib(after), mib(allocated))
	if most := max(stays+allocated, after); most > limit && !raceDetector { // which allocates of its own
		t.Errorf("got %.1f MiB, want at most 100", mib(most))
	}
	runtime.KeepAlive(s)
}

func mib(bytes uint64) float64 { return float64(bytes) / (1 << 20) }
