package sharegpt

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/openai"
	"github.com/simpleaigateway/caddy-ai-gateway/internal/rawjson"
	"github.com/simpleaigateway/caddy-ai-gateway/internal/splice"
)

// parts returns the lines of an exchange, put together from their parts.
func parts(t *testing.T, o Options, x *Exchange) []byte {
	t.Helper()
	_, records, err := NewProjector(o).Append([]byte("before"), x, nil)
	if err != nil {
		t.Fatal(err)
	}
	var all [][]byte
	size := 0
	for i := range records {
		if records[i].Folder != None {
			all = records[i].AppendParts(all)
			size += records[i].Size()
		}
	}
	joined := slices.Concat(all...)
	if len(joined) != size {
		t.Errorf("size: got %d, want %d", size, len(joined))
	}
	return joined
}

// TestQuotes guards that a record in parts is the one that is made as a whole, and that a
// long text is not copied.
func TestQuotes(t *testing.T) {
	long := strings.Repeat(`a word, \"quoted\"\n`, 1000)
	for _, c := range []struct {
		name, text string
		quotes     int
	}{
		{"plain", long, 1},
		{"escaped now and then", long + `\u00e9` + long + `\/` + long[:100] + `\u4f60` + long, 3},
		{"escaped all over", strings.Repeat(long[:100]+`\u00e9`, 500), 0},
		{"not to be kept", long + "\xff\u2028" + long, 2},
		{"short", long[:1000], 0},
		{"very many", strings.Repeat(long[:5000]+`\u00e9`, 300), maxQuotes},
	} {
		t.Run(c.name, func(t *testing.T) {
			body := fmt.Sprintf(`{"model":"m","messages":[{"role":"system","content":"x"},{"role":"user","content":"%s"}]}`, c.text)
			answer := openai.ReadBodyInPlace(openai.Chat, []byte(`{"choices":[{"message":{"content":"y"}},{"index":1,"message":{"content":"z"}}]}`), 1<<20)
			x := &Exchange{ID: "x", HTTP: 200, Request: []byte(body), Answer: &answer}
			whole, _, err := NewProjector(Options{}).Append(nil, x, nil)
			if err != nil {
				t.Fatal(err)
			}
			if got := parts(t, Options{InPlace: true}, x); !bytes.Equal(got, whole) {
				t.Errorf("got %d bytes in parts, want the %d of the whole", len(got), len(whole))
			}
			if x.Longest, err = splice.ScanLongest(x.Request, splice.MaxDepth, nil, nil); err != nil {
				t.Fatal(err)
			}
			x.Canonical = rawjson.Canonical(x.Request[x.Longest.Start+1 : x.Longest.End-1])
			if got := parts(t, Options{InPlace: true}, x); !bytes.Equal(got, whole) {
				t.Errorf("looked over before: got %d bytes in parts, want the %d of the whole", len(got), len(whole))
			}
			_, records, _ := NewProjector(Options{InPlace: true}).Append(nil, x, nil)
			if got := len(records[0].Quotes); got != c.quotes || len(records) != 2 {
				t.Errorf("got %d quotes in %d records, want %d in 2", got, len(records), c.quotes)
			}
		})
	}
}
