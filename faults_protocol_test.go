package aigateway

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/coder/websocket"
	"github.com/quic-go/quic-go/http3"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// certificate writes one for 127.0.0.1 and returns the site's line that names it.
func certificate(t testing.TB) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	chain, secret := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writeFile(t, chain, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	writeFile(t, secret, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))
	return "tls " + chain + " " + secret
}

// speaks checks that through a client's protocol everything arrives as it was sent,
// in both directions, and that a broken stream is seen to be broken.
func (g *gateway) speaks(t *testing.T, s *witness, c *http.Client, proto string) {
	t.Helper()
	ask := func(kind, body string) (*http.Response, received) {
		t.Helper()
		res, err := c.Post(g.url+chatPath+"?kind="+kind, "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatalf("%s: %v", proto, err)
		}
		return res, receivedOf(res)
	}
	large := chat(`,"user":"` + strings.Repeat("ü\\u0000", 50_000) + `"`)
	for kind, want := range kinds {
		for _, body := range []string{chat(`,"stream":true`), large} {
			res, r := ask(kind, body)
			if res.Proto != proto || r.status != want.status || r.err != nil || r.body != want.body || r.header.Get("Content-Type") != want.media {
				t.Errorf("%s, %s: got %s %d %s, %d bytes, error %v; want %s %d %s and %d bytes",
					proto, kind, res.Proto, r.status, r.header.Get("Content-Type"), len(r.body), r.err, proto, want.status, want.media, len(want.body))
			}
			if got := s.last(t).body; got != body {
				t.Errorf("%s, %s: instance got %d bytes, want the %d sent", proto, kind, len(got), len(body))
			}
		}
	}
	if proto == "HTTP/3.0" {
		// The reset of a QUIC stream takes what has not been read with it.
		if res, err := c.Post(g.url+chatPath, "application/json", strings.NewReader(chat(`,"stream":true`))); err == nil && receivedOf(res).err == nil {
			t.Errorf("%s: a broken stream ended cleanly", proto)
		}
		return
	}
	if _, r := ask("broken", chat(`,"stream":true`)); r.err == nil || !strings.HasPrefix(r.body, chatEvent) || !strings.Contains(r.body, "upstream_cut") {
		t.Errorf("%s: a broken stream: got %q and error %v, want an error event and an aborted transfer", proto, r.body, r.err)
	}
}

// kinds are answers of the instance in [startKinds].
var kinds = map[string]struct {
	status      int
	media, body string
}{
	"stream": {200, "text/event-stream", eventsWith("\r\n")},
	"plain":  {200, "application/json", `{"x":"` + strings.Repeat("y", 300_000) + `"}`},
	"error":  {422, "application/json", `{"error":"no"}`},
}

func startKinds(t testing.TB) *witness {
	return startWitness(t, func(w http.ResponseWriter, r *http.Request) {
		kind, known := kinds[r.URL.Query().Get("kind")]
		if !known {
			w.Header().Set("Content-Type", "text/event-stream")
			io.WriteString(w, chatEvent)
			return
		}
		w.Header().Set("Content-Type", kind.media)
		if kind.media == "application/json" {
			w.Header().Set("Content-Length", strconv.Itoa(len(kind.body)))
		}
		w.WriteHeader(kind.status)
		for piece := range slicesOf([]byte(kind.body), 1000) {
			w.Write(piece)
			http.NewResponseController(w).Flush()
		}
	})
}

// TestProtocols guards row C16: HTTP/1.1, HTTP/2 and HTTP/3 over TLS carry the same
// bytes.
func TestProtocols(t *testing.T) {
	s := startKinds(t)
	g := startServers(t, fleetOf(s.URL+"/v1"), "https", "protocols h1 h2 h3", certificate(t))
	insecure := &tls.Config{InsecureSkipVerify: true}
	one, two := &http.Transport{TLSClientConfig: insecure, Protocols: new(http.Protocols)}, &http.Transport{TLSClientConfig: insecure, Protocols: new(http.Protocols)}
	one.Protocols.SetHTTP1(true)
	two.Protocols.SetHTTP2(true)
	three := &http3.Transport{TLSClientConfig: insecure}
	defer three.Close()
	defer two.CloseIdleConnections()
	defer one.CloseIdleConnections()
	g.speaks(t, s, &http.Client{Transport: one}, "HTTP/1.1")
	g.speaks(t, s, &http.Client{Transport: two}, "HTTP/2.0")
	g.speaks(t, s, &http.Client{Transport: three}, "HTTP/3.0")
	g.wantIdle(t)
	g.wantMarks(t, "protocols", 3) // the broken streams
}

// TestPlainProtocols guards row C16 without TLS: HTTP/1.1, HTTP/2 with prior
// knowledge, and HTTP/1.0, where the connection's end is the answer's.
func TestPlainProtocols(t *testing.T) {
	s := startKinds(t)
	g := startServers(t, fleetOf(s.URL+"/v1"), "http", "protocols h1 h2c", "")
	two := &http.Transport{Protocols: new(http.Protocols)}
	two.Protocols.SetUnencryptedHTTP2(true)
	defer two.CloseIdleConnections()
	g.speaks(t, s, &http.Client{Transport: two}, "HTTP/2.0")
	g.speaks(t, s, client, "HTTP/1.1")
	old := func(kind string) (head, body string) {
		k := g.dial(t)
		k.send(strings.Replace(g.posts(chatPath+"?kind="+kind, jsonType, chat(`,"stream":true`)), "HTTP/1.1", "HTTP/1.0", 1), false)
		text, err := io.ReadAll(k.r)
		if err != nil {
			t.Fatal(err)
		}
		head, body, _ = strings.Cut(string(text), "\r\n\r\n")
		return head, body
	}
	for kind, want := range kinds {
		if head, body := old(kind); !strings.HasPrefix(head, "HTTP/1.0 "+strconv.Itoa(want.status)) || body != want.body || strings.Contains(head, "chunked") {
			t.Errorf("HTTP/1.0, %s: got %s and %d bytes, want %d and %d bytes", kind, head, len(body), want.status, len(want.body))
		}
	}
	// Here the event is the only sign.
	if _, body := old("broken"); !strings.HasPrefix(body, chatEvent) || !strings.Contains(body, "upstream_cut") {
		t.Errorf("HTTP/1.0: a broken stream: got %q, want an error event", body)
	}
}

// resets sends count requests on one connection of HTTP/2, resets each at once, and
// waits until the gateway has seen them all or hangs up.
func (g *gateway) resets(t testing.TB, count int) {
	conn, err := net.Dial("tcp", g.address())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	io.WriteString(conn, http2.ClientPreface)
	var out, head bytes.Buffer
	framer := http2.NewFramer(&out, conn)
	encoder := hpack.NewEncoder(&head)
	body := []byte(chat(""))
	framer.WriteSettings()
	for n := range count {
		head.Reset()
		for _, f := range [][2]string{
			{":method", "POST"}, {":scheme", "http"}, {":authority", g.address()}, {":path", chatPath}, {"content-type", "application/json"},
		} {
			encoder.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
		}
		id := uint32(2*n + 1)
		framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: head.Bytes(), EndHeaders: true})
		framer.WriteData(id, true, body)
		framer.WriteRSTStream(id, http2.ErrCodeCancel)
	}
	framer.WritePing(false, [8]byte{1})
	go io.Copy(conn, &out) // the gateway may hang up in the middle
	for {
		frame, err := framer.ReadFrame()
		if ping, ok := frame.(*http2.PingFrame); err != nil || ok && ping.IsAck() {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error("gateway neither answers nor hangs up")
			}
			return
		}
	}
}

// TestRapidResets guards row C17: 10,000 requests of HTTP/2 that are reset at once
// bring no storm to the instances, and the gateway serves on.
func TestRapidResets(t *testing.T) {
	var now, most, all atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		all.Add(1)
		n := now.Add(1)
		defer now.Add(-1)
		for seen := most.Load(); n > seen && !most.CompareAndSwap(seen, n); seen = most.Load() {
		}
		if r.URL.RawQuery != "" {
			io.WriteString(w, "{}")
			return
		}
		io.Copy(io.Discard, r.Body) // net/http looks for the client's end behind it
		<-r.Context().Done()
	}))
	defer s.Close()
	g := startServers(t, fleetOf(s.URL+"/v1"), "http", "protocols h1 h2c", "")
	began := time.Now()
	g.resets(t, 10_000)
	t.Logf("%v; instance got %d requests, at most %d at once", time.Since(began), all.Load(), most.Load())
	if most.Load() > 250 {
		t.Errorf("instance had %d requests at once, want at most 250", most.Load())
	}
	eventually(t, "the instance to be free", func() bool { return now.Load() == 0 })
	wantWhole(t, g.sends(t, chatPath+"?well", chat("")))
	g.wantIdle(t)
	g.wantMarks(t, "resets", 0)
}

// TestRealtimeEnds guards row C18: an open WebSocket ends when the gateway stops,
// and costs the instance no mark.
func TestRealtimeEnds(t *testing.T) {
	closed := make(chan struct{})
	s := startWitness(t, func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		defer c.CloseNow()
		defer close(closed)
		for {
			kind, message, err := c.Read(context.Background())
			if err != nil || c.Write(context.Background(), kind, message) != nil {
				return
			}
		}
	})
	g := startGateway(t, fleetOf(s.URL+"/v1"))
	c, _, err := websocket.Dial(t.Context(), g.url+"/v1/realtime?model=m", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	if err := c.Write(t.Context(), websocket.MessageText, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	// Caddy answers 101 before it knows the connection as one to be closed.
	if _, message, err := c.Read(t.Context()); err != nil || string(message) != "hello" {
		t.Fatalf("got %q, %v, want what was sent", message, err)
	}
	began := time.Now()
	stopped := make(chan error, 1)
	go func() { stopped <- caddy.Stop() }()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if _, _, err := c.Read(ctx); err == nil || ctx.Err() != nil {
		t.Errorf("client read on for %v with %v, want its end", time.Since(began), err)
	}
	select {
	case <-closed:
	case <-ctx.Done():
		t.Error("the instance's end stays open for 5 s")
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	t.Logf("both ends were closed after %v", time.Since(began))
	g.wantIdle(t)
	g.wantMarks(t, "realtime", 0)
}
