package aigateway

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/coder/websocket"
)

// TestStaleConnection guards that a server which closes a kept connection just as
// the next request arrives there costs no error and no mark: the request is
// replayed on a fresh connection (as uvicorn does after 5 s of idleness).
func TestStaleConnection(t *testing.T) {
	var answered, dropped atomic.Int64
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				br := bufio.NewReader(conn)
				for first := true; ; first = false {
					r, err := http.ReadRequest(br)
					if err != nil {
						return
					}
					io.Copy(io.Discard, r.Body)
					if !first {
						dropped.Add(1)
						return
					}
					answered.Add(1)
					io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
				}
			}()
		}
	}()
	g := startGateway(t, fleetOf("http://"+l.Addr().String()+"/v1"))
	for n := range 1000 {
		body := fmt.Sprintf(`{"model":"m","prompt":"%s"}`, strings.Repeat("x", n%3*4000))
		if status, text := g.post(t, "/v1/completions", body); status != 200 || text != "ok" {
			t.Fatalf("request %d: status %d %s", n, status, text)
		}
	}
	if answered.Load() != 1000 || dropped.Load() < 900 {
		t.Errorf("server answered %d and dropped %d, want 1000 and nearly as many", answered.Load(), dropped.Load())
	}
	for id, i := range g.health(t).Instances {
		if i.RecentErrors != 0 {
			t.Errorf("instance %s has %d errors, want none", id, i.RecentErrors)
		}
	}
}

// health returns the answer of /health.
func (g *gateway) health(t testing.TB) healthReport {
	t.Helper()
	res, err := client.Get(g.url + "/health")
	if err != nil {
		t.Fatal(err)
	}
	var report healthReport
	if err := json.Unmarshal([]byte(readAll(t, res.Body)), &report); err != nil || res.StatusCode != 200 {
		t.Fatalf("/health: status %d, %v", res.StatusCode, err)
	}
	return report
}

// TestUpgrade guards that a WebSocket goes through, is counted while it is open,
// and is routed by the model in its query.
func TestUpgrade(t *testing.T) {
	server := startWitness(t, func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		defer c.CloseNow()
		for {
			kind, text, err := c.Read(r.Context())
			if err != nil {
				return
			}
			if err := c.Write(r.Context(), kind, append([]byte("echo "), text...)); err != nil {
				return
			}
		}
	})
	g := startGateway(t, fmt.Sprintf(`{"instances": [{"url": "%s/v1", "model_name": "m", "upstream_model": "M"}, {"url": "http://127.0.0.1:1/v1", "model_name": "n"}]}`, server.URL))
	c, _, err := websocket.Dial(t.Context(), g.url+"/v1/realtime?model=m", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"a", strings.Repeat("b", 30_000)} {
		if err := c.Write(t.Context(), websocket.MessageText, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if _, got, err := c.Read(t.Context()); err != nil || string(got) != "echo "+text {
			t.Fatalf("sent %d bytes, got back %d, %v", len(text), len(got), err)
		}
	}
	state := g.store.snapshot().fleet.instances[0].state
	if got := server.last(t).uri; got != "/v1/realtime?model=M" || state.inFlight.Load() != 1 {
		t.Errorf("instance got %s, %d in flight", got, state.inFlight.Load())
	}
	if err := c.Close(websocket.StatusNormalClosure, ""); err != nil {
		t.Error(err)
	}
	eventually(t, "the count to fall", func() bool { return state.inFlight.Load() == 0 })
}

// TestClientGone guards that an instance is told at once when its client leaves,
// before and in the middle of the answer, and that nobody is blamed.
func TestClientGone(t *testing.T) {
	entered, gone := make(chan struct{}), make(chan struct{})
	server := startWitness(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("when") == "middle" {
			io.WriteString(w, `{"begun":`)
			http.NewResponseController(w).Flush()
		}
		entered <- struct{}{}
		<-r.Context().Done()
		gone <- struct{}{}
	})
	g := startGateway(t, fleetOf(server.URL+"/v1"))
	for _, when := range []string{"before", "middle"} {
		ctx, cancel := context.WithCancel(t.Context())
		r, _ := http.NewRequestWithContext(ctx, "POST", g.url+"/v1/completions?when="+when, strings.NewReader(`{"model":"m"}`))
		done := make(chan struct{})
		go func() {
			defer close(done)
			if res, err := client.Do(r); err == nil {
				io.Copy(io.Discard, res.Body)
				res.Body.Close()
			}
		}()
		<-entered
		cancel()
		<-done
		<-gone
	}
	i := g.store.snapshot().fleet.instances[0]
	eventually(t, "the count to fall", func() bool { return i.state.inFlight.Load() == 0 })
	for _, i := range g.health(t).Instances {
		if i.RecentErrors != 0 {
			t.Errorf("instance has %d errors, want none", i.RecentErrors)
		}
	}
}

// TestAnotherInstance guards that a request moves on while nothing has been
// answered, first over the primaries, then to the fallback tier.
func TestAnotherInstance(t *testing.T) {
	dead := "http://" + freeAddress(t) + "/v1"
	good := startWitness(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "good") })
	cloud := startWitness(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "cloud") })
	fleet := func(first, second string) string {
		return fmt.Sprintf(`{"instances": [{"url": %q, "model_name": "m"}, {"url": %q, "model_name": "m"}],
			"fallback_instances": [{"url": "%s/v1", "model_name": "m"}]}`, first, second, cloud.URL)
	}
	g := startGateway(t, fleet(dead, good.URL+"/v1"))
	for range 20 {
		if status, text := g.post(t, "/v1/completions", `{"model":"m"}`); status != 200 || text != "good" {
			t.Errorf("one primary is dead: status %d %s", status, text)
		}
	}
	g.save(t, fleet(dead, strings.Replace(dead, "/v1", "/v2", 1)))
	for range 20 {
		if status, text := g.post(t, "/v1/completions", `{"model":"m"}`); status != 200 || text != "cloud" {
			t.Errorf("both primaries are dead: status %d %s", status, text)
		}
	}
	cloud.Close()
	want := `{"error":{"code":"upstream_unreachable","message":"no instance of the model could be reached","param":null,"type":"server_error"}}` + "\n"
	if status, text := g.post(t, "/v1/completions", `{"model":"m"}`); status != 503 || text != want {
		t.Errorf("all are dead: status %d %s", status, text)
	}
}

// TestTransportDefaults guards what is added to a transport, and that what was
// asked for stays.
func TestTransportDefaults(t *testing.T) {
	f := func(h *Handler, given, want string) {
		t.Helper()
		var raw json.RawMessage
		if given != "" {
			raw = json.RawMessage(given)
		}
		got, _, err := h.transportDefaults(raw)
		if err != nil || string(got) != want {
			t.Errorf("transport %s: got %s %v, want %s", given, got, err, want)
		}
	}
	f(new(Handler), "", `{"compression":false,"dial_timeout":3600000000000,"keep_alive":{"idle_timeout":4000000000,"max_idle_conns_per_host":1024},"max_response_header_size":262144,"network_proxy":{"from":"none"},"protocol":"http"}`)
	f(&Handler{ProxyEnvironment: true}, "", `{"compression":false,"dial_timeout":3600000000000,"keep_alive":{"idle_timeout":4000000000,"max_idle_conns_per_host":1024},"max_response_header_size":262144,"protocol":"http"}`)
	f(new(Handler), `{"protocol":"http","compression":true,"keep_alive":{"idle_timeout":7,"max_idle_conns_per_host":8},"max_response_header_size":262144,"network_proxy":{"from":"url"}}`,
		`{"compression":true,"dial_timeout":3600000000000,"keep_alive":{"idle_timeout":7,"max_idle_conns_per_host":8},"max_response_header_size":262144,"network_proxy":{"from":"url"},"protocol":"http"}`)
	f(new(Handler), `{"protocol":"fastcgi"}`, `{"protocol":"fastcgi"}`)
}

// TestTooSlow guards that a deadline of the proxy's transport becomes a 504.
func TestTooSlow(t *testing.T) {
	release := make(chan struct{})
	server := startWitness(t, func(http.ResponseWriter, *http.Request) { <-release })
	defer close(release)
	g := startGateway(t, fleetOf(server.URL+"/v1"), "transport http {\n response_header_timeout 50ms\n }")
	want := `{"error":{"code":"upstream_timeout","message":"the model's instances did not answer in time","param":null,"type":"server_error"}}` + "\n"
	if status, text := g.post(t, "/v1/completions", `{"model":"m"}`); status != 504 || text != want {
		t.Errorf("got status %d %s", status, text)
	}
}
