package aigateway

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// streamsDir holds recorded answers of real model servers beside the repository.
const streamsDir = "../shared/streams"

// transcript is one recorded answer.
type transcript struct {
	Name            string `json:"name"`
	API             string `json:"api"`
	File            string `json:"file"`
	Request         string `json:"request"`
	ContentType     string `json:"content_type"`
	ContentEncoding string `json:"content_encoding"`
	Status          int    `json:"status_http"`
	SHA256          string `json:"sha256"`
	Server          string `json:"server"`
	Expected        struct {
		Usage *struct {
			Prompt     float64 `json:"prompt_tokens"`
			Completion float64 `json:"completion_tokens"`
		} `json:"usage"`
	} `json:"expected"`

	body []byte
}

func loadTranscripts(t *testing.T) []transcript {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(streamsDir, "index.json"))
	if os.IsNotExist(err) {
		t.Skipf("recorded streams are not here: %v", err)
	}
	var index struct {
		Entries []transcript `json:"entries"`
	}
	if err := json.Unmarshal(text, &index); err != nil {
		t.Fatal(err)
	}
	for i := range index.Entries {
		e := &index.Entries[i]
		if e.body, err = os.ReadFile(filepath.Join(streamsDir, e.File)); err != nil {
			t.Fatal(err)
		}
		if sum := sha256.Sum256(e.body); hex.EncodeToString(sum[:]) != e.SHA256 {
			t.Fatalf("%s is not the file that the index describes", e.File)
		}
	}
	return index.Entries
}

// TestTranscripts guards that every recorded answer reaches the client with
// status, type, encoding and bytes as the instance sent them: whole, byte by
// byte, and compressed with a flush after each event, though nobody asked for it.
func TestTranscripts(t *testing.T) {
	transcripts := loadTranscripts(t)
	byName := make(map[string]transcript)
	for _, e := range transcripts {
		byName[e.Name] = e
	}
	server := startWitness(t, func(w http.ResponseWriter, r *http.Request) {
		e := byName[r.URL.Query().Get("name")]
		body, size := e.body, len(e.body)
		w.Header().Set("Content-Type", e.ContentType)
		switch r.URL.Query().Get("feed") {
		case "bytes":
			if size = 1; raceDetector { // more pieces of a stream give it no more to find
				size = 31
			}
		case "gzip":
			w.Header().Set("Content-Encoding", "gzip")
			body, size = compressed(e.body), 10
		}
		w.WriteHeader(e.Status)
		for piece := range slicesOf(body, size) {
			w.Write(piece)
			http.NewResponseController(w).Flush()
		}
	})
	g := startGateway(t, fleetOf(server.URL+"/v1"))
	paths := map[string]string{"chat": "/v1/chat/completions", "completions": "/v1/completions", "responses": "/v1/responses", "messages": "/v1/messages"}
	for _, e := range transcripts {
		path := paths[e.API]
		if path == "" {
			t.Fatalf("%s: unknown API %q", e.Name, e.API)
		}
		if e.ContentEncoding != "" {
			t.Fatalf("%s: the recording is encoded, which the server here does not act out", e.Name)
		}
		for _, feed := range []string{"whole", "bytes", "gzip"} {
			want, encoding := string(e.body), ""
			if feed == "gzip" {
				want, encoding = string(compressed(e.body)), "gzip"
			}
			res, err := client.Post(fmt.Sprintf("%s%s?feed=%s&name=%s", g.url, path, feed, e.Name), "application/json", strings.NewReader(`{"model":"m","stream":true}`))
			if err != nil {
				t.Fatal(err)
			}
			got := readAll(t, res.Body)
			if got != want {
				t.Errorf("%s, %s: got %d bytes that differ from the %d sent", e.Name, feed, len(got), len(want))
			}
			if res.StatusCode != e.Status || res.Header.Get("Content-Type") != e.ContentType || res.Header.Get("Content-Encoding") != encoding {
				t.Errorf("%s, %s: got status %d, type %q, encoding %q", e.Name, feed, res.StatusCode, res.Header.Get("Content-Type"), res.Header.Get("Content-Encoding"))
			}
		}
	}
	t.Logf("%d transcripts, each whole, byte by byte and compressed", len(transcripts))
}

// compressed returns b as a server sends it that flushes after every line.
func compressed(b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	for line := range bytes.Lines(b) {
		w.Write(line)
		w.Flush()
	}
	w.Close()
	return out.Bytes()
}

// slicesOf yields b in pieces of size bytes.
func slicesOf(b []byte, size int) func(func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for len(b) > 0 {
			n := min(max(size, 1), len(b))
			if !yield(b[:n]) {
				return
			}
			b = b[n:]
		}
	}
}

// TestStreamFlushes guards that each event is passed on when it comes: the
// instance sends the next one only after the client has the last.
func TestStreamFlushes(t *testing.T) {
	turn := make(chan struct{})
	event := func(i int) string {
		return fmt.Sprintf("data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"%d\"}}]}\n\n", i)
	}
	server := startWitness(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 20 {
			io.WriteString(w, event(i))
			http.NewResponseController(w).Flush()
			<-turn
		}
		io.WriteString(w, "data: [DONE]\n\n")
	})
	g := startGateway(t, fleetOf(server.URL+"/v1"))
	res, err := client.Post(g.url+"/v1/chat/completions", "application/json", strings.NewReader(`{"model":"m"}`))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	for i := range 20 {
		want := event(i)
		got := make([]byte, len(want))
		if _, err := io.ReadFull(res.Body, got); err != nil || string(got) != want {
			t.Fatalf("event %d: got %q %v, want %q", i, got, err, want)
		}
		turn <- struct{}{}
	}
	if rest, err := io.ReadAll(res.Body); err != nil || string(rest) != "data: [DONE]\n\n" {
		t.Errorf("after the last event: got %q %v, want the end mark", rest, err)
	}
}

// TestLargeBodies guards that requests up to max_body arrive whole, with a
// length and chunked, and that their buffers do not mix.
func TestLargeBodies(t *testing.T) {
	server := startWitness(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "ok") })
	g := startGateway(t, fleetOf(server.URL+"/v1"), "max_body 8MiB")
	for _, size := range []int{0, 1, 4 << 10, 4<<10 + 1, 70_000, 1 << 20, 5 << 20, 8<<20 - 40} {
		for _, chunked := range []bool{false, true} {
			fill := bytes.Repeat([]byte{byte('a' + size%26)}, size)
			body := fmt.Sprintf(`{"model":"m","prompt":"%s"}`, fill)
			var reader io.Reader = strings.NewReader(body)
			if chunked {
				reader = io.MultiReader(reader) // hides the length
			}
			res, err := client.Post(g.url+"/v1/completions", "application/json", reader)
			if err != nil {
				t.Fatal(err)
			}
			if text := readAll(t, res.Body); res.StatusCode != 200 {
				t.Fatalf("body of %d bytes: status %d %s", len(body), res.StatusCode, text)
			}
			if got := server.last(t); got.body != body || got.length != int64(len(body)) {
				t.Errorf("body of %d bytes, chunked %v: instance got %d bytes, declared %d", len(body), chunked, len(got.body), got.length)
			}
		}
	}
}
