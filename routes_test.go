package aigateway

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// What may reach an instance, said in other words than those of newRoute.
var (
	plainPath   = regexp.MustCompile(`^(/[-A-Za-z0-9._~:@,=+]+)+$`)
	dotSegment  = regexp.MustCompile(`/\.\.?(/|$)`)
	forwardable = regexp.MustCompile(`^/v1/(assistants|audio|batches|chat|completions|containers|conversations|embeddings|evals|files|fine_tuning|` +
		`images|messages|models|moderations|realtime|responses|threads|uploads|vector_stores|videos|score$|rerank$)(/|$)` +
		`|^/(tokenize|detokenize|score|rerank|v2/rerank|classify|pooling)$`)
	ownModels    = regexp.MustCompile(`^/v1/models$`)
	escapedSlash = regexp.MustCompile(`(?i)%2f`)
)

func mayReachInstance(path string) bool {
	return plainPath.MatchString(path) && !dotSegment.MatchString(path) && forwardable.MatchString(path) && !ownModels.MatchString(path)
}

// goodPaths are request targets that an instance shall see.
var goodPaths = []string{
	"/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses", "/v1/responses/resp_68af4030592c81938ec0a5fbab4a3e9f05438e46b5f69a3b/cancel",
	"/v1/messages", "/v1/messages/count_tokens", "/v1/audio/transcriptions", "/v1/images/edits", "/v1/files/file-abc_1.2~x/content", "/v1/batches/batch_1/cancel",
	"/v1/fine_tuning/jobs/ft:gpt-4.1@2026,a=b+c/events", "/v1/realtime", "/v1/vector_stores/vs_1/files/...", "/v1/chat", "/tokenize", "/detokenize", "/score",
	"/v1/score", "/rerank", "/v1/rerank", "/v2/rerank", "/classify", "/pooling", "/v1/ch%61t/completions", "/v1/fine_tuning/jobs/ft%3Agpt",
}

// FuzzRoute holds newRoute against the words above, for any request that
// net/http accepts, and looks at the path that an instance would see.
func FuzzRoute(f *testing.F) {
	for _, target := range slices.Concat(goodPaths, trickyPaths) {
		f.Add("POST", target)
	}
	for _, row := range shownPaths {
		f.Add("GET", row[0])
	}
	for _, method := range []string{"GET", "HEAD", "DELETE", "OPTIONS", "TRACE", "X"} {
		f.Add(method, "/v1/chat/completions")
	}
	for _, target := range []string{"/", "*", "/v1/models", "/v1/models/", "/v1/models/a%2Fb", "/v1/models/../x", "/health", "/livez", "/readyz", "http://h/v1/chat", "//h/v1/chat"} {
		f.Add("GET", target)
		f.Add("POST", target)
	}
	f.Fuzz(func(t *testing.T, method, target string) {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(method + " " + target + " HTTP/1.1\r\nHost: gateway\r\n\r\n")))
		if err != nil || r.Method == http.MethodConnect {
			return
		}
		reading := r.Method == http.MethodGet || r.Method == http.MethodHead
		want := mayReachInstance(r.URL.Path) && r.Method != http.MethodTrace && !escapedSlash.MatchString(r.URL.EscapedPath()) &&
			(!reading || !strings.HasPrefix(r.URL.Path, "/v1/models/"))
		rt := newRoute(r, defaultEngineRoutes)
		if got := rt.service == serveProxy; got != want {
			t.Fatalf("%s %q: goes to an instance: %t, want %t", r.Method, target, got, want)
		}
		if !want {
			return
		}
		for _, i := range []*instance{{base: "/v1", root: ""}, {base: "", root: ""}, {base: "/maas/v1", root: "/maas"}, {base: "/v4", root: "/v4"}} {
			seen := i.root + r.URL.Path
			if below, ok := strings.CutPrefix(r.URL.Path, "/v1/"); ok {
				seen = i.base + "/" + below
			}
			if path, query := i.target(rt); path != seen || query != "" || !plainPath.MatchString(path) || dotSegment.MatchString(path) {
				t.Fatalf("%s %q: instance at %q would be asked %q %q, want %q", r.Method, target, i.base, path, query, seen)
			}
		}
	})
}

// mutate changes a request target in a few places, in ways that attackers and
// clumsy clients do. It adds no white space but the tab, for the line it stands
// in should stay one.
func mutate(random *rand.Rand, target string) string {
	pick := func(list ...string) string { return list[random.IntN(len(list))] }
	for range 1 + random.IntN(4) {
		at := random.IntN(len(target) + 1)
		switch random.IntN(9) {
		case 0:
			target = target[:at] + pick("/", "//", ".", "..", "/../", "/./", "/..;/", ";", "\\", "..\\", "?", "#", "%", "*", "@", ":", "~", "\t", "é", "\xff", "\x00") + target[at:]
		case 1:
			target = target[:at] + pick("%2e", "%2E%2e", "%2f", "%5c", "%00", "%09", "%0d%0a", "%20", "%23", "%25", "%252e", "%3f", "%3b", "%c0%af", "%u002e", "%") + target[at:]
		case 2: // escape one byte, once or twice
			if at < len(target) {
				target = target[:at] + fmt.Sprintf("%s%02x", pick("%", "%25"), target[at]) + target[at+1:]
			}
		case 3:
			if at < len(target) {
				target = target[:at] + string(target[at]^0x20) + target[at+1:] // case, mostly
			}
		case 4:
			if at < len(target) {
				target = target[:at] + target[at+1:]
			}
		case 5:
			other := pick(goodPaths...)
			target = target[:at] + other[random.IntN(len(other)):]
		case 6:
			target += pick("/metrics", "/../sleep", "/load_lora_adapter", "/x", "/0", "/", "/.", "/..")
		case 7:
			target = pick("", "/", "/.", "/..", "/v1", "/v1/..", "http://gateway", "http://other:9", "//", "/x") + target
		case 8:
			target = strings.Replace(target, pick("/v1", "chat", "/", "o", "tokenize"), pick("/V1", "chat/..", "/../", "%6f", "tokenize/../sleep", "load_lora_adapter", "v1"), 1)
		}
		target = strings.NewReplacer("\r", "", "\n", "", " ", "").Replace(target)
	}
	return target
}

// TestRouteMutations guards that of 2,000 strange paths an instance sees only
// those that may reach it, and these in one form.
func TestRouteMutations(t *testing.T) {
	w := startWire(t)
	random := rand.New(rand.NewPCG(20261123, 1))
	seeds := slices.Concat(goodPaths, unknownPaths, trickyPaths)
	var k *talk
	refused := 0
	for range 2000 {
		target := seeds[random.IntN(len(seeds))]
		if random.IntN(2) == 0 {
			target = goodPaths[random.IntN(len(goodPaths))]
		}
		target = mutate(random, target)
		method := []string{"POST", "GET", "DELETE"}[random.IntN(3)]
		raw := method + strings.TrimPrefix(post(target, jsonType, `{"model":"a"}`), "POST")
		if k == nil {
			k = w.dial(t)
		}
		before := w.count()
		k.send(raw, false)
		res, body := k.receive(t, method)
		if res.Close {
			k.end()
			k = nil
		}
		asked := w.count() - before
		switch {
		case asked == 0 && res.StatusCode >= 400:
			refused++
		case asked == 0 && method == "GET" && res.StatusCode == 200: // answered by the gateway itself
		case asked != 1 || res.StatusCode != 200:
			t.Fatalf("%s %q: got %d %s, instance asked %d times", method, target, res.StatusCode, body, asked)
		default:
			seen := w.last(t)
			if path, _, _ := strings.Cut(seen.uri, "?"); !mayReachInstance(path) || seen.method != method || escapedSlash.MatchString(path) {
				t.Errorf("%s %q: instance was asked %s %q", method, target, seen.method, seen.uri)
			}
			if pathPart, _, _ := strings.Cut(target, "?"); escapedSlash.MatchString(pathPart) {
				t.Errorf("%s %q: instance was asked %s %q, want nothing for an escaped slash", method, target, seen.method, seen.uri)
			}
		}
	}
	if w.count() < 100 || refused < 500 {
		t.Errorf("%d of 2,000 reached the instance and %d were refused, want at least 100 and 500 for a test of both", w.count(), refused)
	}
}
