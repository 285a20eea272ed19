package aigateway

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// awkward are requests with something in their fields that proxies treat apart.
var awkward = map[string]string{
	"plain":                 "Content-Type: application/json\r\n",
	"forwarded":             "X-Forwarded-For: 10.1.1.1\r\nX-Forwarded-For: 10.2.2.2\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: a.example\r\n",
	"forwarded, empty":      "X-Forwarded-For:\r\nX-Forwarded-Proto:\r\nX-Forwarded-Host:\r\n",
	"hop by hop":            "Connection: keep-alive, X-Mine\r\nX-Mine: 1\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\nProxy-Authorization: Basic x\r\nAlt-Svc: x\r\nX-Yours: 2\r\n",
	"trailers wanted":       "TE: trailers, deflate\r\n",
	"no trailers":           "TE: deflate\r\n",
	"via":                   "Via: 1.0 first\r\nVia: 1.1 second\r\n",
	"user agent":            "User-Agent: curl/8\r\n",
	"no user agent":         "",
	"credentials":           "Authorization: Bearer mine\r\nX-Api-Key: mine\r\nCookie: a=b\r\n",
	"expect":                "Expect: 100-continue\r\n",
	"encodings":             "Accept-Encoding: gzip, br\r\n",
	"request id":            "X-Request-Id: abc-1\r\n",
	"request id, not safe":  "X-Request-Id: a b\r\n",
	"range":                 "Range: bytes=0-1\r\nIf-None-Match: \"x\"\r\n",
	"many of a name":        "X-Many: 1\r\nx-many: 2\r\nX-Many:\r\n",
	"early answers":         "X-Want: early\r\n",
	"trailers":              "X-Want: trailers\r\n",
	"trailers, unannounced": "X-Want: late trailers\r\n",
	"odd answer":            "X-Want: odd\r\n",
	"empty answer":          "X-Want: empty\r\n",
	"error":                 "X-Want: error\r\n",
}

// awkwardAnswer answers as the request's X-Want says.
func awkwardAnswer(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h["Date"] = nil
	switch r.Header.Get("X-Want") {
	case "early":
		h.Set("Link", "</a>; rel=preload")
		h.Set("Connection", "X-Hop")
		h.Set("X-Hop", "1")
		w.WriteHeader(http.StatusEarlyHints)
		h.Del("Link")
	case "trailers":
		h.Set("Trailer", "X-Sum, X-More")
		defer h.Set("X-Sum", "1")
	case "late trailers":
		defer h.Set(http.TrailerPrefix+"X-Late", "1")
		defer w.(http.Flusher).Flush()
	case "odd":
		h.Set("Server", "uvicorn")
		h.Add("Via", "1.1 engine")
		h["X-Twice"] = []string{"1", "2"}
		h.Set("Connection", "close, X-Hop")
		h.Set("X-Hop", "1")
		h.Set("Keep-Alive", "timeout=5")
		h.Set("Alt-Svc", "h3")
		h.Set("X-Ai-Gateway-Upstream", "engine's own")
	case "empty":
		w.WriteHeader(http.StatusNoContent)
		return
	case "error":
		w.WriteHeader(http.StatusUnprocessableEntity)
	}
	io.WriteString(w, `{"choices":[]}`)
}

// TestDirect guards that the gateway's own way is no other than that through
// Caddy's proxy: for an instance and for a client all is the same.
func TestDirect(t *testing.T) {
	for _, trusted := range []bool{false, true} {
		var told [2]map[string]string
		asked := 0
		for way, option := range []string{"", "verbose_logs"} {
			told[way] = make(map[string]string)
			t.Run(fmt.Sprintf("trusted %v, option %q", trusted, option), func(t *testing.T) {
				w := startWitness(t, awkwardAnswer)
				address := startSite(t, w.URL, option, trusted)
				for name, fields := range awkward {
					for _, first := range []string{"POST /v1/completions?a=b", "GET /v1/files/x", "HEAD /v1/files/x", "DELETE /v1/files/x"} {
						before := w.count()
						answer := exchangeRaw(t, address, first, fields)
						seen := ""
						if w.count() == before+1 {
							asked++
							last := w.seen[before]
							seen = fmt.Sprint(last.method, last.uri, last.body, last.length, inOrder(last.header))
						}
						told[way][name+" "+first] = strings.NewReplacer(address, "GATEWAY", strings.TrimPrefix(w.URL, "http://"), "INSTANCE").Replace(seen + "\n" + answer)
					}
				}
			})
		}
		for name, direct := range told[0] {
			if through := told[1][name]; direct != through {
				t.Errorf("trusted %v, %s: got\n%s\nthrough the proxy\n%s", trusted, name, direct, through)
			}
		}
		if asked != 2*4*len(awkward) {
			t.Errorf("trusted %v: the instance was asked %d times, want %d", trusted, asked, 2*4*len(awkward))
		}
	}
}

// startSite starts a gateway in front of one instance and returns its address.
func startSite(t *testing.T, instance, option string, trusted bool) string {
	t.Helper()
	dir, address := t.TempDir(), freeAddress(t)
	writeFile(t, filepath.Join(dir, "config.json5"), fleetOf(instance+"/v1"))
	global := ""
	if trusted {
		global = "servers {\n trusted_proxies static 127.0.0.1/32\n }"
	}
	loadCaddyfile(t, filepath.Join(dir, "Caddyfile"), fmt.Sprintf("http://%s {\n\tai_gateway {\n\t\t%s\n\t}\n}\n", address, option), global)
	return address
}

// exchangeRaw sends one request and returns what comes back, fields sorted and those
// left out that differ from one to the next.
func exchangeRaw(t *testing.T, address, first, fields string) string {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	body := ""
	if strings.HasPrefix(first, "POST") {
		body = `{"model":"m","prompt":"x"}`
		fields += "Content-Type: application/json\r\n"
	}
	fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: %s\r\n%sContent-Length: %d\r\n\r\n%s", first, address, fields, len(body), body)
	method, _, _ := strings.Cut(first, " ")
	var told strings.Builder
	for br := bufio.NewReader(conn); ; {
		res, err := http.ReadResponse(br, &http.Request{Method: method})
		if err != nil {
			t.Fatalf("%s %q: %v", first, fields, err)
		}
		text, err := io.ReadAll(res.Body)
		for _, name := range []string{"Date", "X-Ai-Gateway-Request-Id"} {
			res.Header.Del(name)
		}
		fmt.Fprintln(&told, res.Status, res.ContentLength, res.Close, res.TransferEncoding, inOrder(res.Header), string(text), err, inOrder(res.Trailer))
		if res.StatusCode >= 200 {
			return told.String()
		}
	}
}

// inOrder writes fields in the order of their names.
func inOrder(h http.Header) string {
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(h)) {
		lines = append(lines, fmt.Sprintf("%s: %q", name, h[name]))
	}
	return "{" + strings.Join(lines, "; ") + "}"
}
