package aigateway

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// testKey returns a key of the form that the command line makes.
func testKey(n int) string { return fmt.Sprintf("aig-%040d", n) }

// keyEntry returns an entry of keys with the hash of [testKey] n and more members.
func keyEntry(name string, n int, members string) string {
	return fmt.Sprintf(`{"name": %q, "hash": %q%s}`, name, digestOf(testKey(n)), members)
}

// fleetFor returns a fleet's file with these keys and one instance of model m for each URL.
func fleetFor(keys []string, urls ...string) string {
	return fleetWith(`"keys": [`+strings.Join(keys, ", ")+`]`, urls...)
}

// send makes a request with these fields, as NAME: VALUE.
func (g *gateway) send(t testing.TB, method, path, body string, fields ...string) received {
	t.Helper()
	r, err := http.NewRequest(method, g.url+path, strings.NewReader(body))
	must(t, err)
	r.Header.Set("Content-Type", "application/json")
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		r.Header[name] = append(r.Header[name], value) // in the case that is given
	}
	res, err := client.Do(r)
	if err != nil {
		return received{err: err}
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return received{res.StatusCode, res.Header, string(text), err}
}

// bearer is the field of [testKey] n.
func bearer(n int) string { return "Authorization: Bearer " + testKey(n) }

// errorOf returns type and code of an answer in the shape of OpenAI's errors.
func errorOf(t testing.TB, body string) string {
	t.Helper()
	var e struct {
		Error struct{ Type, Code, Message string }
	}
	must(t, json.Unmarshal([]byte(body), &e))
	if e.Error.Message == "" {
		t.Errorf("got %s, want a message", body)
	}
	return e.Error.Type + " " + e.Error.Code
}

// scraped returns the gateway's counters and gauges as lines of name, labels and value.
func scraped(t testing.TB) string {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	must(t, registerMetrics(registry))
	families, err := registry.Gather()
	must(t, err)
	var text strings.Builder
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
			}
			name := f.GetName()
			if len(labels) > 0 {
				name += "{" + strings.Join(labels, ",") + "}"
			}
			fmt.Fprintf(&text, "%s %v\n", name, m.GetCounter().GetValue()+m.GetGauge().GetValue())
		}
	}
	return text.String()
}
