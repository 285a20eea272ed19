package echomodel

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"net/http"
	"sync"
	"sync/atomic"
)

// Stats is what GET /echo/stats answers: what has reached the server since its start, or since DELETE /echo/stats.
// Requests to /echo/* do not count.
type Stats struct {
	Requests    int64            `json:"requests"`
	InFlight    int64            `json:"in_flight"`      // now; a hanging request among them
	Connections int              `json:"connections"`    // distinct remote addresses, up to 65,536
	Canceled    int64            `json:"canceled"`       // clients gone before the end of the answer
	ByFault     map[string]int64 `json:"by_fault"`       // requests that met a fault
	ByPath      map[string]int64 `json:"by_path"`        // paths that exist; "other" are all the rest
	Last        *LastRequest     `json:"last,omitempty"` // nil before the first request
}

// LastRequest is the request that came in last, as it came.
type LastRequest struct {
	Method           string      `json:"method"`
	URI              string      `json:"uri"` // path with query, undecoded
	Proto            string      `json:"proto"`
	Host             string      `json:"host"`
	RemoteAddr       string      `json:"remote_addr"`
	Header           http.Header `json:"headers"` // without Host and Transfer-Encoding; keys and all, in plain text
	TransferEncoding []string    `json:"transfer_encoding,omitempty"`
	ContentLength    int64       `json:"content_length"` // as declared, -1 if it was not
	BodyLength       int         `json:"body_length"`    // as read
	BodySHA256       string      `json:"body_sha256"`    // hexadecimal
}

// maxConnections bounds the memory for remote addresses.
const maxConnections = 1 << 16

// stats counts. What costs time (hashing, copying) is left to whoever asks: of the last request only references are
// kept, which is safe because net/http makes a new Request for each request and nobody here changes it.
type stats struct {
	requests, inFlight, canceled atomic.Int64

	mu      sync.Mutex
	remotes map[string]struct{} // guarded by mu, as the rest
	faults  map[string]int64
	paths   map[string]int64
	last    *http.Request
	body    *body // of last, held
}

func (s *stats) begin() {
	s.requests.Add(1)
	s.inFlight.Add(1)
}

func (s *stats) end() { s.inFlight.Add(-1) }

func (s *stats) cancel() { s.canceled.Add(1) }

func (s *stats) fault(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults[name]++
}

// arrive notes a request whose body has been read.
func (s *stats) arrive(x *exchange, path string) {
	x.body.hold()
	s.mu.Lock()
	old := s.body
	s.last, s.body = x.r, x.body
	s.paths[path]++
	if len(s.remotes) < maxConnections {
		s.remotes[x.r.RemoteAddr] = struct{}{}
	}
	s.mu.Unlock()
	if old != nil {
		old.release()
	}
}

// reset begins anew; requests in flight stay counted as such.
func (s *stats) reset() {
	s.requests.Store(0)
	s.canceled.Store(0)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remotes, s.faults, s.paths = map[string]struct{}{}, map[string]int64{}, map[string]int64{}
	if s.body != nil {
		s.body.release()
	}
	s.last, s.body = nil, nil
}

// Stats returns the counters of now.
func (s *Server) Stats() Stats {
	st := &s.stats
	out := Stats{Requests: st.requests.Load(), InFlight: st.inFlight.Load(), Canceled: st.canceled.Load()}
	st.mu.Lock()
	out.Connections = len(st.remotes)
	out.ByFault, out.ByPath = maps.Clone(st.faults), maps.Clone(st.paths)
	r, b := st.last, st.body
	if b != nil {
		b.hold()
	}
	st.mu.Unlock()
	if b == nil {
		return out
	}
	defer b.release()
	sum := sha256.Sum256(b.bytes)
	out.Last = &LastRequest{
		Method: r.Method, URI: r.RequestURI, Proto: r.Proto, Host: r.Host, RemoteAddr: r.RemoteAddr,
		Header: r.Header.Clone(), TransferEncoding: r.TransferEncoding, ContentLength: r.ContentLength,
		BodyLength: len(b.bytes), BodySHA256: hex.EncodeToString(sum[:]),
	}
	return out
}
