package soak

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"github.com/simpleaigateway/caddy-ai-gateway/echomodel"
)

// TestPlans guards that a seed makes the same requests again, and that every fault
// comes, about as often as any other.
func TestPlans(t *testing.T) {
	const n = 100_000
	seen, faulty := map[string]int{}, 0
	for i := range n {
		p := NewPlan(3, i, 0.05)
		if i < 1000 && !reflect.DeepEqual(p, NewPlan(3, i, 0.05)) {
			t.Fatalf("request %d differs", i)
		}
		if p.fault != nil {
			seen[p.Fault()]++
			faulty++
		}
	}
	if faulty < n*4/100 || faulty > n*6/100 {
		t.Errorf("got %d requests with a fault of %d, want 5 %%", faulty, n)
	}
	for _, name := range Names() {
		if seen[name] < 10 {
			t.Errorf("%s: got it %d times in %d", name, seen[name], n)
		}
	}
	if len(seen) != len(faults) {
		t.Errorf("got %d names, want %d: each fault has its own", len(seen), len(faults))
	}
}

// plan returns a request of the API and form without a fault.
func plan(api *api, stream bool) *Plan {
	return &Plan{N: 1, api: api, stream: stream, bytes: 100, tokens: 12, pace: `"itl":"1ms"`}
}

// TestEnds guards that a client tells all ends apart, against an echo model without a
// gateway between.
func TestEnds(t *testing.T) {
	var actor Actor
	server := httptest.NewServer(actor.Instance(0, echomodel.New(echomodel.Options{})))
	defer server.Close()
	c := NewClient(server.Listener.Addr().String(), "", 10)
	defer c.Close()
	n := 0
	f := func(want, script string, api *api, stream bool) {
		t.Helper()
		p := plan(api, stream)
		n++
		p.N = n
		if script != "" {
			p.fault = &fault{script: script, acting: once, ends: []string{want}}
		}
		var o Outcome
		c.ask(t.Context(), p, &o, nil)
		if !strings.HasPrefix(o.End, want) {
			t.Errorf("%s, %s: got %q, want %q", p.Kind(), script, o.End, want)
		}
		if o.Acted != (script != "") && o.End != Nothing {
			t.Errorf("%s, %s: got acted %t", p.Kind(), script, o.Acted)
		}
	}
	for _, api := range apis {
		f(Whole, "", api, false)
		f(Whole, "", api, true)
		f(Whole, `"fault":"gzip"`, api, true)
		f("status 500", `"fault":"status"`, api, true)
		f(Nothing, `"fault":"eof"`, api, true)
		f(Told, `"fault":"error_event","after":8`, api, true)
		f("aborted without an error event", `"fault":"reset_mid","after":8`, api, true)
		f(Broken, `"fault":"reset_mid"`, api, false)
		f("wrong: ", `"fault":"html"`, api, false)
	}
	f("cut, with a clean end", `"fault":"empty"`, apis[0], true)
}

// TestReading guards that wrong texts do not pass for right ones.
func TestReading(t *testing.T) {
	f := func(text string, err error, want string) {
		t.Helper()
		var g reading
		if serr := g.stream(strings.NewReader(text), nil); serr != nil {
			err = serr
		}
		if got := g.end(&Plan{tokens: 2}, true, err); !strings.HasPrefix(got, want) {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
	event := func(text string) string { return `data: {"choices":[{"delta":{"content":"` + text + `"}}]}` + "\n\n" }
	end := "data: [DONE]\n\n"
	f(event("w1 ")+event("w2")+end, nil, Whole)
	f(event("w1xx ")+event("w2xx")+end, nil, Whole)
	f(event("w1 ")+event("w3")+end, nil, "wrong: got the text")
	f(event("w1 ")+event("w1 ")+event("w2")+end, nil, "wrong: got the text")
	f(event("w1 ")+end, nil, "cut, with a clean end")
	f(event("w1 ")+event("w2"), nil, "cut, with a clean end")
	f(event("w1 "), io.ErrUnexpectedEOF, "aborted without an error event")
	f(event("w1 ")+`data: {"error":{}}`+"\n\n", io.ErrUnexpectedEOF, Broken)
	f(event("w1 ")+`data: {"error":{}}`+"\n\n", nil, Told)
	f("data: {\n\n", nil, "wrong: cannot read event")
}

func TestActor(t *testing.T) {
	var got []string
	echo := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		got = append(got, string(b))
	})
	f := func(a *Actor, instance int, acting string, acts bool) {
		t.Helper()
		r := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader([]byte(`{"echo":{"tokens":1}}`)))
		r.Header.Set(scriptField, `"fault":"reset"`)
		r.Header.Set(actingField, acting)
		w := httptest.NewRecorder()
		a.Instance(instance, echo).ServeHTTP(w, r)
		want := `{"echo":{"tokens":1}}`
		if acts {
			want = `{"echo":{"fault":"reset","tokens":1}}`
		}
		if last := got[len(got)-1]; last != want || (w.Header().Get(actedField) != "") != acts {
			t.Errorf("%s on %d: got %s and %v, want %s", acting, instance, last, w.Header(), want)
		}
	}
	var a Actor
	f(&a, 0, "once 5", true)
	f(&a, 1, "once 5", false)
	f(&a, 1, "once 6", true)
	f(&a, 1, "at 2", false)
	f(&a, 2, "at 2", true)
	f(&a, 3, "everywhere", true)
	calm := Actor{Calm: true}
	f(&calm, 0, "once 7", false)
	f(&calm, 2, "at 2", false)
	f(&calm, 0, "everywhere", true)
}

// TestMissed guards that only the ends of a fault pass.
func TestMissed(t *testing.T) {
	f := func(fault *fault, end string, acted bool, want string) {
		t.Helper()
		p := plan(apis[0], true)
		p.fault = fault
		if got := p.Missed(&Outcome{End: end, Acted: acted}); got != want {
			t.Errorf("%+v, %s: got %q, want %q", fault, end, got, want)
		}
	}
	f(nil, Whole, false, "")
	f(nil, Broken, false, "got broken, want whole")
	f(&fault{ends: []string{status(400)}}, status(400), false, "")
	f(&fault{ends: []string{status(400)}}, Whole, false, "got whole, want status 400")
	shows := &fault{shows: true, ends: []string{Broken}}
	f(shows, Broken, true, "")
	f(shows, Whole, false, "")
	f(shows, Whole, true, "got whole, want broken")
	f(shows, Broken, false, "got broken, want whole")
	if unanswered(errors.New("x")) != "no answer: x" || unanswered(io.EOF) != Nothing {
		t.Error("unanswered")
	}
}
