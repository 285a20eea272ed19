package aigateway

import (
	"testing"
	"time"
)

// TestReadyz guards that /readyz says no only while no pool has an instance that takes
// requests or whose trial is due: without requests none would ever come back.
func TestReadyz(t *testing.T) {
	g := startGateway(t, `{"instances": [{"url": "http://a:1/v1", "model_name": "a"}, {"url": "http://b:1/v1", "model_name": "b"}]}`)
	f := func(what string, want int) {
		t.Helper()
		for path, want := range map[string]int{"/readyz": want, "/livez": 200} {
			res, err := client.Get(g.url + path)
			must(t, err)
			if body := readAll(t, res.Body); res.StatusCode != want || (body == "ok\n") != (want == 200) {
				t.Errorf("%s: %s: got %d %q, want %d", what, path, res.StatusCode, body, want)
			}
		}
	}
	out := func(n int) {
		g.put(n, func(h *health, now time.Duration) { h.out(reasonConnect, now, time.Hour) })
	}
	f("both serve", 200)
	out(0)
	f("one is out", 200)
	out(1)
	f("both are out", 503)
	g.makeDue(1)
	f("a trial is due", 200)
	g.put(1, func(h *health, now time.Duration) { h.rest.Store(int64(now + time.Hour)) })
	f("it rests", 503)
	g.put(0, func(h *health, now time.Duration) { h.back(now) })
	f("the other is in slow start", 200)
	g.store.setDrain(g.store.snapshot().fleet.instances[0].id, true)
	f("it drains", 503)
	g.save(t, `{"instances": [{"url": "http://a:1/v1", "model_name": "*", "weight": 0}], "fallback_instances": [{"url": "http://c:1/v1", "model_name": "*"}]}`)
	f("a fallback for all models", 200)
}
