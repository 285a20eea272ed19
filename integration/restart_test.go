package integration

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
)

// TestKillRestart guards row L3: the process is killed under load and started again at
// once, as a service manager does. Clients with the library's own two retries see no
// error, nobody is served for 2 s at most, a dead instance is out again within 10 s,
// and what was recorded stays readable.
func TestKillRestart(t *testing.T) {
	g := start(t)
	urls := append(startInstances(t, 2), "http://127.0.0.1:"+freePorts(t, 1)[0]+"/v1")
	g.serves(t, `data_dir: "./data",`, urls...)
	client := openai.NewClient(option.WithBaseURL(g.url+"/v1/"), option.WithAPIKey("EMPTY"), option.WithMaxRetries(2*slower))
	ctx, cancel := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	var mu sync.Mutex
	var answered []time.Time // guarded by mu
	for range 8 {
		clients.Go(func() {
			for {
				answer, err := client.Chat.Completions.New(ctx, ask("hello"))
				if ctx.Err() != nil {
					return
				}
				if err == nil && answer.Choices[0].Message.Content != "hello" {
					err = errors.New("answer is not hello: " + answer.RawJSON())
				}
				if err != nil {
					t.Errorf("a client that retries: %v", err)
					return
				}
				mu.Lock()
				answered = append(answered, time.Now())
				mu.Unlock()
			}
		})
	}
	count := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(answered)
	}
	out := func() bool { return g.instance(t, 2).State == "ejected" }
	eventually(t, "200 answers", func() bool { return count() >= 200 })
	eventually(t, "the dead instance to be out", out)
	eventually(t, "200 records on disk", func() bool { return len(g.records(t, "requests_responses")) >= 200 })

	killed, own := time.Now(), watchOwn()
	g.signal(t, syscall.SIGKILL)
	<-g.ended
	g.run(t, nil)
	if !g.ready() {
		t.Fatalf("the gateway does not start again: %s", g.log)
	}
	ready := time.Since(killed)
	eventually(t, "the dead instance to be out again", out)
	rebuilt := time.Since(killed)
	if rebuilt > 10*time.Second {
		t.Errorf("the dead instance is out again after %v, want 10 s at most", rebuilt)
	}
	before := count()
	eventually(t, "200 more answers", func() bool { return count() >= before+200 })
	cancel()
	clients.Wait()
	slices.SortFunc(answered, time.Time.Compare)
	busy := own.longest() // this process, and so perhaps the gateway
	outage := time.Duration(0)
	for n := range answered[1:] {
		outage = max(outage, answered[n+1].Sub(answered[n]))
	}
	if limit := 2 * time.Second * slower; outage > limit+busy {
		t.Errorf("nobody was served for %v, want %v at most", outage, limit)
	}
	if err := g.stop(); err != nil {
		t.Error(err)
	}
	// The kill may cost what is not a second old (D1).
	kept := 0
	for _, at := range answered {
		if at.Before(killed.Add(-time.Second)) || at.After(killed.Add(ready)) {
			kept++
		}
	}
	lines := g.records(t, "requests_responses")
	text, _ := run(t, g.dir, nil, "ai-gateway", "records", "verify")
	if !strings.HasSuffix(text, " 0 problems\n") || len(lines) < kept {
		t.Errorf("got %d records of %d exchanges, %d of which a kill must not cost, and %s", len(lines), len(answered), kept, text)
	}
	t.Logf("ready after %v, outage %v, dead instance out after %v, %d records of %d exchanges", ready, outage, rebuilt, len(lines), len(answered))
}
