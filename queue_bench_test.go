package aigateway

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
)

// newStoreOf returns a store with a file of that content that nobody watches, and whose
// usher works until the test ends.
func newStoreOf(tb testing.TB, text string) *store {
	tb.Helper()
	s := &store{path: filepath.Join(tb.TempDir(), "config.json5"), events: newBulletin(), usher: usher{bell: make(chan struct{}, 1)}, stop: make(chan struct{})}
	s.logger.Store(zap.NewNop())
	writeFile(tb, s.path, text)
	_, _, err := s.load()
	must(tb, err)
	s.done.Go(s.ushers)
	tb.Cleanup(func() {
		close(s.stop)
		s.done.Wait()
		must(tb, s.letGo())
	})
	return s
}

// asksFor returns a request for model m, as [Handler.ServeHTTP] has it before the choice.
func (s *store) asksFor(ctx context.Context) *exchange {
	request, _ := http.NewRequestWithContext(ctx, http.MethodPost, "/", nil)
	snap := s.snapshot()
	return &exchange{
		request: request, snap: snap, pool: snap.fleet.pool("m"), store: s, ejections: &s.ejections, ask: ask{model: "m"},
		policy: newPolicy(nil, snap.strategy), events: logger{zap.NewNop(), s.events}, began: clock(),
	}
}

// BenchmarkQueueHandOver hands a place on among many requests that wait, each of which
// waits again at once: from the end of one until the next one's goroutine has it.
func BenchmarkQueueHandOver(b *testing.B) {
	for _, waiting := range []int{1, 1000} {
		b.Run(fmt.Sprintf("waiting=%d", waiting), func(b *testing.B) {
			s := newStoreOf(b, `{record: {enabled: false}, instances: [{url: "http://127.0.0.1:1/v1", model_name: "m", max_concurrency: 1}], queue: {max_waiting: 2000, max_wait: 0}}`)
			ctx, cancel := context.WithCancel(context.Background())
			var freed atomic.Int64
			took := make([]time.Duration, 0, 1<<20)
			done, ended := make(chan struct{}), make(chan struct{}, waiting+1)
			for range waiting + 1 {
				go func() {
					defer func() { ended <- struct{}{} }()
					for {
						x := s.asksFor(ctx)
						if !x.choose() {
							return
						}
						if at := freed.Load(); at > 0 && len(took) < b.N { // the place is this goroutine's alone
							took = append(took, clock()-time.Duration(at))
							if len(took) == b.N {
								close(done)
							}
						}
						for s.usher.waiting.Load() < int64(waiting) && ctx.Err() == nil {
							time.Sleep(10 * time.Microsecond) // till the last one waits again
						}
						freed.Store(int64(clock()))
						x.end()
						if ctx.Err() != nil {
							return
						}
					}
				}()
			}
			<-done
			cancel()
			for range waiting + 1 {
				<-ended
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Nanoseconds()), "p50-ns")
			b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds()), "p99-ns")
			if n := s.usher.waiting.Load(); n != 0 {
				b.Errorf("%d wait at the end", n)
			}
		})
	}
}

// BenchmarkChoose chooses an instance and gives it back, while nobody waits.
func BenchmarkChoose(b *testing.B) {
	for _, limit := range []int{0, 100} {
		b.Run(fmt.Sprintf("max_concurrency=%d", limit), func(b *testing.B) {
			s := newStoreOf(b, fmt.Sprintf(`{record: {enabled: false}, instances: [{url: "http://127.0.0.1:1/v1", model_name: "m", max_concurrency: %d}]}`, limit))
			x := s.asksFor(context.Background())
			b.ReportAllocs()
			for b.Loop() {
				x.now = clock()
				i, _ := x.leaseFrom(usualSteps[0])
				i.free()
			}
		})
	}
}
