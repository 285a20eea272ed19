package aigateway

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// TestHandshake guards that no request goes over a connection whose other end has not
// proved who it is, that another instance takes it, and that people are told what is
// wrong, by a word of its own for each fault. The handshake's deadline is 1/25 of the
// default.
func TestHandshake(t *testing.T) {
	ours, foreign := newAuthority(t), newAuthority(t)
	for _, c := range []struct {
		name string
		cert *tls.Certificate
		want reason
	}{
		{"expired", ours.certify(t, "127.0.0.1", -time.Hour), reasonTLSExpired},
		{"wrong name", ours.certify(t, "other.test", time.Hour), reasonTLSName},
		{"unknown authority", foreign.certify(t, "127.0.0.1", time.Hour), reasonTLSIssuer},
		{"no TLS", nil, reasonTLS},
		{"silence", nil, reasonTLSTimeout},
	} {
		t.Run(c.name, func(t *testing.T) {
			var asked, answered atomic.Int64
			good := startTLS(t, ours.certify(t, "127.0.0.1", time.Hour), &answered)
			var bad string
			switch {
			case c.cert != nil:
				bad = startTLS(t, c.cert, &asked)
			case c.want == reasonTLS:
				bad = strings.Replace(startWitness(t, nil).URL, "http:", "https:", 1) + "/v1"
			default:
				l, err := net.Listen("tcp", "127.0.0.1:0") // the system accepts for it
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { l.Close() })
				bad = "https://" + l.Addr().String() + "/v1"
			}
			g := startGateway(t, fleetWith(`"error_threshold": 1, "timeouts": {"tls": "200ms"}`, bad, good), ours.trust)
			g.loadOf(30, 5).allOK(t)
			if v := g.state(0); v.phase != ejected || v.why != c.want || v.failures > 5 {
				t.Errorf("got %v for %q after %d failures, want ejected for %q after 1 to 5", v.phase, v.why, v.failures, c.want)
			}
			g.save(t, fleetWith(`"timeouts": {"tls": "200ms"}`, bad))
			if a := g.chat(true); a.status != 503 || !strings.Contains(a.body, `"upstream_unreachable"`) {
				t.Errorf("alone: got %d %s, want 503 upstream_unreachable", a.status, a.body)
			}
			if asked.Load() != 0 || answered.Load() != 30 {
				t.Errorf("bad instance got %d requests, the good one %d, want 0 and 30", asked.Load(), answered.Load())
			}
		})
	}
}

// authority issues certificates.
type authority struct {
	cert  *x509.Certificate
	key   *ecdsa.PrivateKey
	trust string // option of ai_gateway that trusts it alone
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{cert: &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}}
	der := a.sign(t, a.cert, nil)
	var err error
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "authority.pem")
	writeFile(t, file, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	a.trust = "transport http {\n tls_trust_pool file " + file + "\n }"
	return a
}

// sign returns c signed by the authority, or by itself if that has no key yet.
func (a *authority) sign(t *testing.T, c *x509.Certificate, public any) []byte {
	t.Helper()
	if a.key == nil {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		a.key, public = key, key.Public()
	}
	der, err := x509.CreateCertificate(rand.Reader, c, a.cert, public, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// certify returns a certificate for host, an address or a name, that ends so long from
// now.
func (a *authority) certify(t *testing.T, host string, left time.Duration) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(2), NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().Add(left)}
	if ip := net.ParseIP(host); ip != nil {
		c.IPAddresses = []net.IP{ip}
	} else {
		c.DNSNames = []string{host}
	}
	return &tls.Certificate{Certificate: [][]byte{a.sign(t, c, key.Public())}, PrivateKey: key}
}

// startTLS runs a good instance with cert, which counts what it is asked.
func startTLS(t *testing.T, cert *tls.Certificate, asked *atomic.Int64) string {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		body, _ := io.ReadAll(r.Body)
		kind, text := chatAnswer(body)
		w.Header().Set("Content-Type", kind)
		io.WriteString(w, text)
	}))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{*cert}}
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // of the handshakes that shall fail
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.URL + "/v1"
}

// TestHTTP2 guards that an instance which refuses streams, and asks for new connections
// in the middle of a load, costs no error in 500 requests and no mark.
func TestHTTP2(t *testing.T) {
	ours := newAuthority(t)
	cert := ours.certify(t, "127.0.0.1", time.Hour)
	servers := []*flakyHTTP2{startHTTP2(t, cert), startHTTP2(t, cert), startHTTP2(t, cert)}
	g := startGateway(t, fleetOf(servers[0].url, servers[1].url, servers[2].url), ours.trust)
	g.loadOf(500, 20).allOK(t)
	for n, s := range servers {
		if s.refused.Load() < 10 || s.left.Load() < 5 {
			t.Errorf("instance %d refused %d streams and ended %d connections, want 10 and 5 or more", n, s.refused.Load(), s.left.Load())
		}
		if v := g.state(n); v.failures != 0 || v.phase != serving {
			t.Errorf("instance %d has %d failures and is %v, want none", n, v.failures, v.phase)
		}
	}
}

// flakyHTTP2 is an HTTP/2 server that refuses one request in 11, and with one in 17
// asks for a new connection: it works off the streams before, not that one.
type flakyHTTP2 struct {
	url                  string
	asked, refused, left atomic.Int64
}

func startHTTP2(t *testing.T, cert *tls.Certificate) *flakyHTTP2 {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{*cert}, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	s := &flakyHTTP2{url: "https://" + l.Addr().String() + "/v1"}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go s.serve(conn)
		}
	}()
	return s
}

// serve works on one connection until the other end closes it.
func (s *flakyHTTP2) serve(conn net.Conn) {
	defer conn.Close()
	if _, err := io.ReadFull(conn, make([]byte, len(http2.ClientPreface))); err != nil {
		return
	}
	c := &flakyConn{server: s, framer: http2.NewFramer(conn, conn), bodies: make(map[uint32][]byte)}
	c.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	c.framer.WriteSettings()
	for {
		frame, err := c.framer.ReadFrame()
		if err != nil {
			return
		}
		switch f := frame.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				c.framer.WriteSettingsAck()
			}
		case *http2.PingFrame:
			if !f.IsAck() {
				c.framer.WritePing(true, f.Data)
			}
		case *http2.DataFrame:
			c.bodies[f.StreamID] = append(c.bodies[f.StreamID], f.Data()...)
			c.framer.WriteWindowUpdate(0, max(1, uint32(len(f.Data()))))
			if f.StreamEnded() {
				c.answer(f.StreamID)
			}
		}
	}
}

type flakyConn struct {
	server *flakyHTTP2
	framer *http2.Framer
	bodies map[uint32][]byte // of the streams
	last   uint32            // after GOAWAY: the last stream that is worked on
}

func (c *flakyConn) answer(stream uint32) {
	n := c.server.asked.Add(1)
	switch {
	case c.last != 0 && stream > c.last:
	case n%11 == 0:
		c.server.refused.Add(1)
		c.framer.WriteRSTStream(stream, http2.ErrCodeRefusedStream)
	case n%17 == 0 && stream > 1 && c.last == 0:
		c.server.left.Add(1)
		c.last = stream - 2
		c.framer.WriteGoAway(c.last, http2.ErrCodeNo, nil)
	default:
		kind, text := chatAnswer(c.bodies[stream])
		var block bytes.Buffer
		e := hpack.NewEncoder(&block)
		e.WriteField(hpack.HeaderField{Name: ":status", Value: strconv.Itoa(http.StatusOK)})
		e.WriteField(hpack.HeaderField{Name: "content-type", Value: kind})
		c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: block.Bytes(), EndHeaders: true})
		c.framer.WriteData(stream, true, []byte(text))
	}
}
