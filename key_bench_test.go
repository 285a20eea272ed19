package aigateway

import (
	"context"
	"fmt"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/ledger"
	"github.com/simpleaigateway/caddy-ai-gateway/internal/limit"
	"github.com/simpleaigateway/caddy-ai-gateway/internal/openai"
)

// BenchmarkKey is all that a key adds to a request, with every limit and budget set: the
// look-up among 100,000, the limits, and the end.
func BenchmarkKey(b *testing.B) {
	l := ledger.Open(ledger.Options{Store: ledger.NewFolder(filepath.Join(b.TempDir(), "usage"))})
	defer l.Close()
	s := &store{strangers: limit.Guard{Most: maxWrongKeys, Window: time.Minute, Places: maxStrangers}}
	cfg := &Config{clientKeys: make([]*KeyConfig, 100_000)}
	for n := range cfg.clientKeys {
		cfg.clientKeys[n] = &KeyConfig{
			Name: fmt.Sprint(n), digest: digestOf(testKey(n)), Models: []string{"n", "m"}, RequestsPerMinute: maxRate, TokensPerMinute: maxRate, MaxConcurrency: 10,
			Budgets: BudgetsConfig{maxRate, maxRate, 1e9, 1e9},
		}
	}
	keys := s.keyring(cfg, l)
	r := httptest.NewRequest("POST", chatPath, strings.NewReader(""))
	r = r.WithContext(context.WithValue(context.WithValue(r.Context(), caddyhttp.VarsCtxKey, map[string]any{caddyhttp.ClientIPVarKey: "192.0.2.1"}),
		caddy.ReplacerCtxKey, caddy.NewReplacer()))
	field := []string{"Bearer " + testKey(77_777)}
	rt := newRoute(r, nil)
	text := []byte(`{"model":"m","max_tokens":500,"messages":[{"role":"user","content":"` + strings.Repeat("word ", 190) + `"}]}`)
	snap := &snapshot{keys: keys, prices: map[string]price{"m": {1_000_000, 2_000_000}}}
	p := &pool{model: "m", state: new(modelState)}
	x := &exchange{request: r, route: rt, snap: snap, body: &body{bytes: text}, pool: p, ask: ask{model: "m", form: askJSON}, usage: usage{openai.Usage{Prompt: 200, Completion: 300}, usageTold}}
	w := httptest.NewRecorder()
	b.ReportAllocs()
	for b.Loop() {
		r.Header["Authorization"] = field
		line := newAccessLine(nil, w, r, keys)
		key, ok := s.admits(w, r, rt, keys)
		if !ok {
			b.Fatal(w.Body)
		}
		x.key = key
		if f := x.admit(); f != nil {
			b.Fatal(f)
		}
		x.lease.end(x)
		line.write()
	}
}

// BenchmarkKeyOpen is what is asked where the file has no keys.
func BenchmarkKeyOpen(b *testing.B) {
	x := &exchange{snap: new(snapshot)}
	b.ReportAllocs()
	for b.Loop() {
		if f := x.admit(); f != nil {
			b.Fatal(f)
		}
		x.lease.end(x)
	}
}

// BenchmarkKeyLookup shows that a look-up takes as long among 100,000 keys as among 10, but
// for what the processor's caches cost.
func BenchmarkKeyLookup(b *testing.B) {
	for _, count := range []int{10, 1000, 100_000} {
		ring := &keyring{byDigest: make(map[keyDigest]*clientKey)}
		for n := range count {
			k := &clientKey{digest: digestOf(testKey(n))}
			ring.byDigest[k.digest] = k
		}
		texts := make([]string, 1024)
		for n := range texts {
			texts[n] = testKey(n * 7919 % count)
		}
		now := time.Now()
		b.Run(fmt.Sprint(count), func(b *testing.B) {
			b.ReportAllocs()
			for n := 0; b.Loop(); n++ {
				if ring.find(texts[n%len(texts)], now) == nil {
					b.Fatal("not found")
				}
			}
		})
	}
}

// BenchmarkKeysLoad100k reads, checks and puts in force a file of 100,000 keys, as a swap
// does.
func BenchmarkKeysLoad100k(b *testing.B) {
	dir := b.TempDir()
	var list strings.Builder
	list.WriteString("[\n")
	for n := range 100_000 {
		fmt.Fprintf(&list, "  {name: \"team-%06d\", hash: \"%s\", requests_per_minute: 60},\n", n, digestOf(testKey(n)))
	}
	list.WriteString("]\n")
	writeFile(b, filepath.Join(dir, "keys.json5"), list.String())
	text := []byte(fleetWith(`"keys_file": "keys.json5"`, "http://127.0.0.1:1/v1"))
	l := ledger.Open(ledger.Options{Store: ledger.NewFolder(filepath.Join(dir, "usage"))})
	defer l.Close()
	s := new(store)
	b.ReportAllocs()
	for b.Loop() {
		cfg, err := parseConfig(text, dir)
		if err != nil {
			b.Fatal(err)
		}
		if r := s.keyring(cfg, l); len(r.byDigest) != 100_000 {
			b.Fatal(len(r.byDigest))
		}
	}
}
