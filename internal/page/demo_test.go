package page

import (
	"context"
	"flag"
	"net/http/httptest"
	"testing"
	"time"
)

var demo = flag.Duration("demo", 0, "serve the page with moving sample data for so long")

// TestDemo is for people: go test ./internal/page -run TestDemo -v -demo 10m -timeout 11m
func TestDemo(t *testing.T) {
	if *demo == 0 {
		t.Skip("skipped: nobody asked for it with -demo")
	}
	s := newSample()
	p := Handler(s.take, Options{Recordings: func() string { return "/ai_gateway/records" }})
	server := httptest.NewServer(p)
	defer server.Close()
	defer p.Close()
	t.Logf("the status page is at %s/ for %v", server.URL, *demo)
	ctx, cancel := context.WithTimeout(t.Context(), *demo)
	defer cancel()
	live(ctx, s)
}

// live lets s move once a second until ctx ends.
func live(ctx context.Context, s *sample) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			s.tick()
		}
	}
}
