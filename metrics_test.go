package aigateway

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/simpleaigateway/caddy-ai-gateway/echomodel"
)

// startMeasured runs a gateway whose site shows Caddy's metrics too. More lines of the
// site can be given.
func startMeasured(t testing.TB, fleet string, site ...string) *gateway {
	t.Helper()
	return startBehind(t, fleet, "", "", site...)
}

// startTraced runs a gateway behind traced.
func startTraced(t testing.TB, fleet string) *gateway {
	t.Helper()
	return startBehind(t, fleet, "traced", "")
}

// startBehind runs a gateway behind another handler, with an option, and with more
// lines of its site.
func startBehind(t testing.TB, fleet, handler, option string, site ...string) *gateway {
	t.Helper()
	dir := t.TempDir()
	address := freeAddress(t)
	g := &gateway{file: filepath.Join(dir, "config.json5"), url: "http://" + address}
	writeFile(t, g.file, fleet)
	loadCaddyfile(t, filepath.Join(dir, "Caddyfile"), fmt.Sprintf(
		"http://%s {\n\t%s\n\thandle /metrics {\n\t\tmetrics {\n\t\t\tdisable_openmetrics\n\t\t}\n\t}\n\thandle {\n\t\t%s\n\t\tai_gateway {\n\t\t\t%s\n\t\t}\n\t}\n}\n", address, strings.Join(site, "\n\t"), handler, option))
	var err error
	if g.store, err = acquireStore(g.file, zap.NewNop()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := releaseStore(g.store); err != nil {
			t.Error(err)
		}
	})
	return g
}

// scrape returns the text of all metrics.
func (g *gateway) scrape(t testing.TB) string {
	t.Helper()
	res, err := client.Get(g.url + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	return readAll(t, res.Body)
}

// series returns the gateway's metrics by name and labels, without the common part of
// the name, the buckets and sums, and with the names of instances for their IDs.
func (g *gateway) series(t testing.TB) map[string]float64 {
	t.Helper()
	var names []string
	for _, i := range g.store.snapshot().fleet.instances {
		names = append(names, i.id, i.name)
	}
	all := make(map[string]float64)
	for line := range strings.Lines(strings.NewReplacer(names...).Replace(g.scrape(t))) {
		series, ours := strings.CutPrefix(strings.TrimSpace(line), "caddy_ai_gateway_")
		name, value, found := cutLast(series, " ")
		if !ours || !found || strings.Contains(name, "_bucket{") || strings.Contains(name, "_sum{") {
			continue
		}
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			t.Fatalf("metric %s: %v", line, err)
		}
		all[name] = n
	}
	return all
}

func cutLast(s, sep string) (before, after string, found bool) {
	at := strings.LastIndex(s, sep)
	if at < 0 {
		return s, "", false
	}
	return s[:at], s[at+len(sep):], true
}

// moved returns by how much series differ, those that do.
func moved(before, after map[string]float64) map[string]float64 {
	diff := make(map[string]float64)
	for name, n := range after {
		if n != before[name] {
			diff[name] = n - before[name]
		}
	}
	for name, n := range before {
		if _, there := after[name]; !there {
			diff[name] = -n
		}
	}
	return diff
}

func attempts(upstream, model, outcome, reason string) string {
	return fmt.Sprintf("attempts_total{model=%q,outcome=%q,reason=%q,upstream=%q}", model, outcome, reason, upstream)
}

func requests(model, outcome string) string {
	return fmt.Sprintf("requests_total{model=%q,outcome=%q}", model, outcome)
}

// answered are the metrics that every answer of an instance moves.
func answered(upstream, model string, stream bool) map[string]float64 {
	return map[string]float64{
		fmt.Sprintf("upstream_latency_seconds_count{upstream=%q}", upstream):                         1,
		fmt.Sprintf("overhead_seconds_count{model=%q}", model):                                       1,
		fmt.Sprintf("request_duration_seconds_count{model=%q,stream=%q}", model, fmt.Sprint(stream)): 1,
	}
}

// TestMetrics sends requests of every kind through a gateway and guards that exactly
// those metrics move that should, by as much as they should.
func TestMetrics(t *testing.T) {
	t.Run("direct", func(t *testing.T) { testMetrics(t, "") })
	t.Run("proxy", func(t *testing.T) { testMetrics(t, "flush_interval -1") })
}

func testMetrics(t *testing.T, option string) {
	a, b, f := startStandIn(t, "a"), startStandIn(t, "b"), startStandIn(t, "f")
	entry := func(s *standIn, name, model, more string) string {
		return fmt.Sprintf(`{"url": %q, "name": %q, "model_name": %q%s}`, s.url, name, model, more)
	}
	g := startBehind(t, fmt.Sprintf(`{"record": {"enabled": false}, "error_threshold": 2, "retries": {"ratio": 0},
		"instances": [%s, %s, %s, %s, %s], "fallback_instances": [%s]}`,
		entry(a, "a", "m", ""), entry(b, "p", "pair", ""), entry(a, "q", "pair", `, "weight": 0`), entry(b, "lone", "alone", ""), entry(b, "d", "off", `, "drain": true`),
		entry(f, "f", "m", "")), "", option)
	const chat = "/v1/chat/completions"
	ask := func(model, echo string, stream bool) string {
		return fmt.Sprintf(`{"model": %q, "stream": %v, "messages": [{"role": "user", "content": "one two three"}], "echo": {%s}}`, model, stream, echo)
	}
	plus := func(base map[string]float64, more ...any) map[string]float64 {
		all := maps.Clone(base)
		for n := 0; n < len(more); n += 2 {
			all[more[n].(string)] += float64(more[n+1].(int))
		}
		return all
	}
	tokens := func(upstream, model, kind string) string {
		return fmt.Sprintf("tokens_total{model=%q,type=%q,upstream=%q}", model, kind, upstream)
	}
	estimated := func(upstream, model, kind string) string {
		return strings.Replace(tokens(upstream, model, kind), "tokens", "tokens_estimated", 1)
	}
	post := func(body string) func() { return func() { g.sends(t, chat, body) } }
	breaks := ask("m", `"tokens": 20, "fault": "reset_mid", "after": 5`, true)

	for _, c := range []struct {
		name string
		do   func()
		want map[string]float64
	}{
		{
			name: "a plain answer", do: post(ask("m", "", false)),
			want: plus(answered("a", "m", false), requests("m", "ok"), 1, attempts("a", "m", "ok", ""), 1, tokens("a", "m", "prompt"), 3, tokens("a", "m", "completion"), 3),
		},
		{
			name: "a stream", do: post(strings.Replace(ask("m", `"tokens": 20, "itl": "3ms"`, true), `"stream": true`, `"stream": true, "stream_options": {"include_usage": true}`, 1)),
			want: plus(answered("a", "m", true), requests("m", "ok"), 1, attempts("a", "m", "ok", ""), 1, tokens("a", "m", "prompt"), 3, tokens("a", "m", "completion"), 20,
				`time_to_first_token_seconds_count{model="m"}`, 1, `time_per_output_token_seconds_count{model="m"}`, 1),
		},
		{
			name: "an embedding", do: func() { g.sends(t, "/v1/embeddings", `{"model": "m", "input": "one two"}`) },
			want: plus(answered("a", "m", false), requests("m", "ok"), 1, attempts("a", "m", "ok", ""), 1, tokens("a", "m", "prompt"), 2),
		},
		{
			name: "an unknown model", do: post(ask("nobody's", "", false)),
			want: map[string]float64{requests("_other", "refused"): 1},
		},
		{
			name: "no JSON", do: post("{"),
			want: map[string]float64{requests("_other", "refused"): 1},
		},
		{
			name: "a path that is not forwarded", do: func() { g.sends(t, "/v1/nothing", "{}") },
			want: map[string]float64{},
		},
		{
			name: "the client's mistake", do: post(ask("m", `"fault": "status", "status": 422`, false)),
			want: plus(answered("a", "m", false), requests("m", "rejected"), 1, attempts("a", "m", "rejected", "status"), 1),
		},
		{
			name: "a failure and the fallback", do: func() {
				a.SetScript(echomodel.Script{Fault: "status", Status: 500}, 1)
				g.sends(t, chat, ask("m", "", false))
			},
			want: plus(answered("f", "m", false), requests("m", "ok"), 1, attempts("a", "m", "failed", "status"), 1, attempts("f", "m", "ok", ""), 1,
				`retries_total{model="m"}`, 1, `fallback_requests_total{model="m"}`, 1, tokens("f", "m", "prompt"), 3, tokens("f", "m", "completion"), 3),
		},
		{
			name: "a stream that breaks", do: post(breaks),
			want: plus(answered("a", "m", true), requests("m", "truncated"), 1, attempts("a", "m", "truncated", "reset"), 1,
				`time_to_first_token_seconds_count{model="m"}`, 1,
				// The role is no token, and the counts would have come at the end.
				estimated("a", "m", "prompt"), (len(breaks)+3)/4, estimated("a", "m", "completion"), 4,
				// It is the second failure in a row.
				`ejections_total{upstream="a"}`, 1, `upstream_state{state="serving",upstream="a"}`, -1, `upstream_state{state="ejected",upstream="a"}`, 1),
		},
		{
			name: "a client that leaves", do: func() {
				ctx, cancel := context.WithCancel(context.Background())
				r, err := http.NewRequestWithContext(ctx, http.MethodPost, g.url+chat, strings.NewReader(ask("alone", `"fault": "hang"`, false)))
				if err != nil {
					t.Fatal(err)
				}
				done := make(chan struct{})
				go func() {
					defer close(done)
					if res, err := client.Do(r); err == nil {
						res.Body.Close()
					}
				}()
				state := g.store.snapshot().fleet.instances[3].state
				eventually(t, "the attempt to begin", func() bool { return state.inFlight.Load() == 1 })
				if got := g.series(t)[`upstream_requests_in_flight{upstream="lone"}`]; got != 1 {
					t.Errorf("got %v requests in flight, want 1", got)
				}
				cancel()
				<-done
				g.wantIdle(t)
				eventually(t, "the request to be counted", func() bool { return g.series(t)[requests("alone", "canceled")] == 1 })
			},
			want: map[string]float64{requests("alone", "canceled"): 1, attempts("lone", "alone", "canceled", ""): 1, `request_duration_seconds_count{model="alone",stream="false"}`: 1},
		},
		{
			name: "a rate limit", do: post(ask("alone", `"fault": "status", "status": 429, "retry_after": "60"`, false)),
			want: map[string]float64{requests("alone", "busy"): 1, attempts("lone", "alone", "busy", "rate_limit"): 1, `request_duration_seconds_count{model="alone",stream="false"}`: 1},
		},
		{
			name: "nobody to ask", do: post(ask("alone", "", false)),
			want: map[string]float64{requests("alone", "unavailable"): 1, `request_duration_seconds_count{model="alone",stream="false"}`: 1},
		},
		{
			name: "all drain", do: post(ask("off", "", true)),
			want: map[string]float64{requests("off", "unavailable"): 1, `request_duration_seconds_count{model="off",stream="true"}`: 1},
		},
		{
			name: "a swap takes a model away", do: func() {
				g.save(t, fmt.Sprintf(`{"record": {"enabled": false}, "instances": [%s, %s]}`, entry(b, "p", "pair", ""), entry(a, "q", "pair", `, "drain": true`)))
				for series := range g.series(t) {
					for _, gone := range []string{`"m"`, `"alone"`, `"off"`, `upstream="a"`, `upstream="f"`} {
						if strings.Contains(series, gone) {
							t.Errorf("series %s is still there", series)
						}
					}
				}
			},
			want: nil,
		},
	} {
		before := g.series(t)
		c.do()
		var got map[string]float64
		settled := func() bool {
			got = moved(before, g.series(t))
			// The stand-in may send two tokens at once or not; TestStreamTimes counts gaps.
			delete(got, `inter_token_latency_seconds_count{model="m"}`)
			return maps.Equal(got, c.want)
		}
		if c.want == nil {
			continue
		}
		for until := clock() + 5*time.Second; !settled() && clock() < until; { // a request is counted when its answer has gone out
			time.Sleep(time.Millisecond)
		}
		if !maps.Equal(got, c.want) {
			t.Errorf("%s: got %v\nwant %v", c.name, byName(got), byName(c.want))
		}
	}
	if got := g.series(t)[`upstream_state{state="draining",upstream="q"}`]; got != 1 {
		t.Errorf("got %v for a draining instance, want 1", got)
	}
}

func byName(m map[string]float64) (lines []string) {
	for _, name := range slices.Sorted(maps.Keys(m)) {
		lines = append(lines, fmt.Sprintf("%s %+v", name, m[name]))
	}
	return lines
}

// TestStreamTimes guards the times of a stream: the first token counts from the
// request, gaps are those that the client sees, and marks behind the last one are
// none.
func TestStreamTimes(t *testing.T) {
	a := startStandIn(t, "a")
	g := startMeasured(t, `{"record": {"enabled": false}, "instances": [{"url": "`+a.url+`", "model_name": "m"}]}`)
	all := g.sends(t, "/v1/chat/completions", `{"model": "m", "stream": true, "messages": [{"role": "user", "content": "x"}], "echo": {"tokens": 21, "ttft": "120ms", "itl": "20ms"}}`)
	wantWhole(t, all)
	i := g.store.snapshot().fleet.instances[0]
	var stats instanceStats
	eventually(t, "the stream to be counted", func() bool {
		stats = i.statistics(clock())
		return stats.RequestsPerSecond > 0
	})
	if stats.TTFT.P50 < 0.1 || stats.TTFT.P50 > 0.5 {
		t.Errorf("got a TTFT of %v s, want 0.12", stats.TTFT.P50)
	}
	if stats.ITL.P50 < 0.015 || stats.ITL.P50 > 0.1 {
		t.Errorf("got an ITL of %v s, want 0.02", stats.ITL.P50)
	}
	// A chunk with the finish may follow the last token at once; on a busy machine
	// tokens come together.
	if got := g.series(t)[`inter_token_latency_seconds_count{model="m"}`]; got < 10 || got > 21 {
		t.Errorf("got %v gaps between 21 tokens, want 20", got)
	}
}

// TestMetricsLint guards that Prometheus' own checker has nothing against the names,
// helps and types.
func TestMetricsLint(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not here")
	}
	a := startStandIn(t, "a")
	g := startMeasured(t, fmt.Sprintf(`{"data_dir": %q, "instances": [{"url": %q, "model_name": "m"}]}`, t.TempDir(), a.url))
	wantWhole(t, g.sends(t, "/v1/chat/completions", `{"model": "m", "messages": [{"role": "user", "content": "x"}]}`))
	eventually(t, "the record to be written", func() bool { return g.series(t)["records_written_total"] >= 1 })
	if got := g.series(t)["record_disk_free_bytes"]; got < 1 {
		t.Errorf("got %v bytes free, want more", got)
	}
	var ours strings.Builder
	for line := range strings.Lines(g.scrape(t)) {
		if strings.Contains(line, "caddy_ai_gateway_") {
			ours.WriteString(line)
		}
	}
	cmd := exec.Command(promtool, "check", "metrics")
	cmd.Stdin = strings.NewReader(ours.String())
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool: %v\n%s", err, out)
	}
}

// TestCardinality guards row X11: no number of models, paths, methods and statuses adds
// a series.
func TestCardinality(t *testing.T) {
	count := 100_000
	if raceDetector || testing.Short() {
		count = 2_000
	}
	w := startWitness(t, func(w http.ResponseWriter, r *http.Request) {
		if n, err := strconv.Atoi(r.Header.Get("X-Number")); err == nil {
			w.WriteHeader(410 + n%15)
		}
		io.WriteString(w, "{}")
	})
	g := startMeasured(t, fmt.Sprintf(`{"record": {"enabled": false}, "instances": [{"url": %q, "model_name": "m"}, {"url": %q, "model_name": "*"}]}`, w.URL, w.URL+"/x"))
	send := func(method, path, model, number string) {
		r, err := http.NewRequest(method, g.url+path, strings.NewReader(fmt.Sprintf(`{"model": %q}`, model)))
		if err != nil {
			t.Error(err)
			return
		}
		r.Header.Set("X-Number", number)
		res, err := client.Do(r)
		if err != nil {
			t.Error(err)
			return
		}
		res.Body.Close()
	}
	for _, model := range []string{"m", "any"} {
		send(http.MethodPost, "/v1/chat/completions", model, "")
		send(http.MethodPost, "/v1/chat/completions", model, "1")
	}
	before := len(g.series(t))
	const clients = 16
	done := make(chan struct{})
	for c := range clients {
		go func() {
			defer func() { done <- struct{}{} }()
			for n := c; n < count; n += clients {
				method, path, number := http.MethodPost, "/v1/chat/completions", ""
				switch n % 4 {
				case 0:
					path = fmt.Sprintf("/v1/files/%d", n)
				case 1:
					number = strconv.Itoa(n)
				case 2:
					method, path = fmt.Sprintf("M%d", n), fmt.Sprintf("/v1/nothing/%d", n)
				}
				send(method, path, fmt.Sprintf("model-%d", n), number)
			}
		}()
	}
	for range clients {
		<-done
	}
	if after := len(g.series(t)); after != before {
		t.Errorf("got %d series, want %d as before", after, before)
	}
	t.Logf("%d requests, %d series", count, before)
}
