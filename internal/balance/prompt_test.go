package balance

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/openai"
	"github.com/simpleaigateway/caddy-ai-gateway/internal/splice"
)

// read cuts a body as the gateway does.
func read(t testing.TB, d openai.Dialect, body string) *Prompt {
	t.Helper()
	longest, err := splice.ScanLongest([]byte(body), 256, nil, nil)
	if err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	p := new(Prompt)
	p.Read(d, "m", "", []byte(body), longest)
	return p
}

func message(role, content string) string {
	text, err := json.Marshal(content)
	if err != nil {
		panic(err)
	}
	return `{"role":"` + role + `","content":` + string(text) + `}`
}

func TestBlocks(t *testing.T) {
	long := strings.Repeat("lorem \"ipsum\" ", 100)
	f := func(d openai.Dialect, body string, want int) {
		t.Helper()
		p := read(t, d, body)
		if len(p.blocks) != want {
			t.Errorf("got %d blocks, want %d, of %.200s", len(p.blocks), want, body)
		}
		if want > 0 && (p.head < 1 || p.head > maxHead) {
			t.Errorf("gateways agree by %d blocks, want 1 to %d", p.head, maxHead)
		}
		last := int32(0)
		for _, b := range p.blocks {
			if b.end <= last || int(b.end) > len(body)+64 {
				t.Errorf("ends of blocks %v of a body of %d bytes", p.blocks, len(body))
			}
			last = b.end
		}
	}
	chat := func(messages ...string) string {
		return `{"model":"m","messages":[` + strings.Join(messages, ",") + `]}`
	}
	f(openai.Chat, chat(message("user", "hi")), 1)
	f(openai.Chat, chat(message("system", "be brief"), message("user", "hi")), 2)
	f(openai.Chat, chat(message("system", long), message("user", "hi")), 3) // 2 of 1,630 bytes
	f(openai.Chat, `{"tools":[`+message("x", long)+`],"messages":[`+message("user", "hi")+`]}`, 2)
	f(openai.Chat, `{"messages":[]}`, 0)
	f(openai.Chat, `{"messages":"no list"}`, 1)
	f(openai.Chat, `{"model":"m"}`, 0)
	f(openai.Messages, `{"system":"be brief","messages":[`+message("user", "hi")+`]}`, 2)
	f(openai.Messages, `{"messages":[`+message("user", "hi")+`],"system":[{"type":"text","text":"be brief"}]}`, 2)
	f(openai.Responses, `{"instructions":"be brief","input":"hi"}`, 2)
	f(openai.Responses, `{"input":[`+message("user", "hi")+`]}`, 1)
	f(openai.Completions, `{"prompt":"`+strings.Repeat("x", BlockSize-1)+`"}`, 0)
	f(openai.Completions, `{"prompt":"`+strings.Repeat("x", 3*BlockSize+1)+`"}`, 3)
	f(openai.Completions, `{"prompt":["`+strings.Repeat("x", BlockSize)+`","other"]}`, 1)
	f(openai.Completions, `{"prompt":[`+strings.Repeat("12345,", 1000)+`1]}`, 6000/BlockSize)
	f(openai.Completions, `{"prompt":[[`+strings.Repeat("12345,", 1000)+`1]]}`, 6000/BlockSize)
	f(openai.Completions, `{"prompt":[]}`, 0)
	f(openai.Other, `{"input":"`+long[:5]+`","messages":[]}`, 0)
	f(openai.Chat, chat(message("user", strings.Repeat("x", 1<<20))), MaxBlocks)
	f(openai.Chat, `{"tools":["`+strings.Repeat("x", 1<<20)+`"],"messages":[`+message("user", strings.Repeat("x", 1<<20))+`]}`, MaxBlocks+1)

	same := func(a, b *Prompt) {
		t.Helper()
		if !slices.Equal(a.blocks, b.blocks) || a.head != b.head {
			t.Errorf("got different blocks %v and %v", a.blocks, b.blocks)
		}
	}
	same(read(t, openai.Responses, `{"input":"hi"}`), read(t, openai.Responses, `{"input":[`+message("user", "hi")+`]}`))
	plain := read(t, openai.Messages, `{"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}]}`)
	for _, body := range []string{
		`{"messages":[{"role":"user","content":[{"type":"text","text":"hi","cache_control":{"type":"ephemeral"}}]}]}`,
		`{"messages":[{"role":"user","content":[{"cache_control" : {"type":"ephemeral"} , "type":"text","text":"hi"}]}]}`,
		`{"messages":[{"role":"user","content":[{"type":"text" , "cache_control": null,"text":"hi"}]}]}`,
		`{"messages":[{"role":"user","content":[{"type":"text","text":"hi"}],"cache_control":{}}]}`,
	} {
		same(plain, read(t, openai.Messages, body))
	}

	// What makes another prompt of it makes other blocks.
	base := `{"model":"m","tools":[1],"messages":[` + message("system", "a") + `,` + message("user", "b") + `]}`
	for _, other := range []string{
		strings.Replace(base, `[1]`, `[12]`, 1), strings.Replace(base, `[1]`, `[1,2]`, 1), strings.Replace(base, `"tools":[1],`, ``, 1),
		strings.Replace(base, `"a"`, `"ab"`, 1), strings.Replace(base, `system`, `user`, 1),
	} {
		if read(t, openai.Chat, base).blocks[1] == read(t, openai.Chat, other).blocks[min(1, len(read(t, openai.Chat, other).blocks)-1)] {
			t.Errorf("the same blocks for %s and %s", base, other)
		}
	}
	p, q := new(Prompt), new(Prompt)
	p.Read(openai.Chat, "m", "", []byte(base), splice.Value{})
	q.Read(openai.Chat, "n", "", []byte(base), splice.Value{})
	if p.blocks[0].hash == q.blocks[0].hash {
		t.Error("the same blocks for two models")
	}
}

// TestSession guards which of its names a session goes by.
func TestSession(t *testing.T) {
	session := func(header, body string) uint64 {
		p := new(Prompt)
		p.Read(openai.Chat, "m", header, []byte(body), splice.Value{})
		return p.Session
	}
	a, b := session("a", `{}`), session("b", `{}`)
	if a == 0 || a == b {
		t.Fatalf("got sessions %d and %d", a, b)
	}
	for _, c := range []struct {
		header, body string
		want         uint64
	}{
		{"", `{}`, 0},
		{"", `{"user":"","prompt_cache_key":null}`, 0},
		{"", `{"user":5}`, 0},
		{"", `{"user":"a"}`, a},
		{"", `{"user":"b","prompt_cache_key":"a"}`, a},
		{"", `{"messages":[{"user":"b"}], "user" : "a" }`, a},
		{"a", `{"user":"b","prompt_cache_key":"b"}`, a},
	} {
		if got := session(c.header, c.body); got != c.want {
			t.Errorf("header %q, body %s: got %d, want %d", c.header, c.body, got, c.want)
		}
	}
}

// growth is a conversation of any dialect, turn by turn.
type growth struct {
	dialect openai.Dialect
	turns   []string // bodies
}

// texts has what is hard about strings: escapes, quotes, long runs, what looks like JSON.
var texts = rapid.OneOf(
	rapid.String(), rapid.StringN(0, 3000, -1), rapid.SampledFrom([]string{"", `\`, `"`, "\n", `{"role":"user"}`, `"cache_control":{}`, " ", "é", " "}),
	rapid.Custom(func(t *rapid.T) string {
		return strings.Repeat(rapid.SampledFrom([]string{"x", "ab ", `\"`, "日本"}).Draw(t, "piece"), rapid.IntRange(1, 1500).Draw(t, "times"))
	}),
)

// drawGrowth draws a conversation in which each turn goes on where the last one ended.
func drawGrowth(t *rapid.T) growth {
	g := growth{dialect: rapid.SampledFrom([]openai.Dialect{openai.Chat, openai.Completions, openai.Responses, openai.Messages}).Draw(t, "dialect")}
	var members []string
	if rapid.Bool().Draw(t, "tools") && g.dialect != openai.Completions {
		members = append(members, `"tools":[`+message("tool", texts.Draw(t, "tool"))+`]`)
	}
	system := texts.Draw(t, "system")
	quoted, _ := json.Marshal(system)
	var talk []string
	switch g.dialect {
	case openai.Responses:
		members = append(members, `"instructions":`+string(quoted))
	case openai.Messages:
		members = append(members, `"system":`+string(quoted))
	case openai.Chat:
		talk = append(talk, message("system", system))
	default:
	}
	members = append(members, `"stream":true`, `"model":"m"`)
	prompt := ""
	for range rapid.IntRange(2, 5).Draw(t, "turns") {
		body := slices.Clone(members)
		if g.dialect == openai.Completions {
			prompt += texts.Draw(t, "text")
			quoted, _ := json.Marshal(prompt)
			body = append(body, `"prompt":`+string(quoted))
		} else {
			talk = append(talk, message("user", texts.Draw(t, "text")))
			name := map[openai.Dialect]string{openai.Responses: "input"}[g.dialect]
			if name == "" {
				name = "messages"
			}
			marked := slices.Clone(talk)
			if g.dialect == openai.Messages { // as Anthropic's clients do with the last message
				last := marked[len(marked)-1]
				marked[len(marked)-1] = last[:len(last)-1] + `,"cache_control":{"type":"ephemeral"}}`
			}
			body = append(body, `"`+name+`":[`+strings.Join(marked, ",")+`]`)
			talk = append(talk, message("assistant", texts.Draw(t, "answer")))
		}
		body = rapid.Permutation(body).Draw(t, "order")
		g.turns = append(g.turns, "{"+strings.Join(body, ",")+"}")
	}
	return g
}

// spaced puts white space between the tokens of a JSON text.
func spaced(t *rapid.T, text string) string {
	switch rapid.IntRange(0, 3).Draw(t, "spaces") {
	case 0:
		return text
	case 1:
		var out bytes.Buffer
		if err := json.Indent(&out, []byte(text), "", "\t"); err != nil {
			panic(err)
		}
		return out.String()
	}
	var out strings.Builder
	blank := rapid.SampledFrom([]string{"", " ", "\r\n", "\t  "})
	quoted := false
	for n := 0; n < len(text); n++ {
		c := text[n]
		if quoted && c == '\\' {
			out.WriteString(text[n : n+2])
			n++
			continue
		}
		if c == '"' {
			quoted = !quoted
		}
		between := !quoted && strings.IndexByte(`{}[],:`, c) >= 0
		if between {
			out.WriteString(blank.Draw(t, "blank"))
		}
		out.WriteByte(c)
		if between {
			out.WriteString(blank.Draw(t, "blank"))
		}
	}
	return out.String()
}

// TestBlocksGrow guards that the blocks of a turn are the first blocks of the next, in every
// dialect, whatever the order of members and the white space between tokens.
func TestBlocksGrow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := drawGrowth(t)
		var before *Prompt
		for _, body := range g.turns {
			text := spaced(t, body)
			longest, err := splice.ScanLongest([]byte(text), 256, nil, nil)
			if err != nil {
				t.Fatalf("%v in %s", err, text)
			}
			if rapid.Bool().Draw(t, "longest unknown") {
				longest = splice.Value{}
			}
			p := new(Prompt)
			p.Read(g.dialect, "m", "", []byte(text), longest)
			if before != nil {
				if len(before.blocks) > len(p.blocks) || !slices.Equal(before.blocks, p.blocks[:len(before.blocks)]) {
					t.Fatalf("blocks %v are not the first of %v\n%s", before.blocks, p.blocks, text)
				}
				if before.head != p.head && len(before.blocks) > 0 {
					t.Fatalf("gateways agree by %d blocks and then by %d", before.head, p.head)
				}
			}
			before = p
		}
	})
}

// FuzzRead guards that no bytes make reading panic or go beyond its bounds, and that a body
// that was read before leaves nothing behind.
func FuzzRead(f *testing.F) {
	for _, body := range []string{
		`{"messages":[{"role":"user","content":"hi"}],"tools":[1,{"cache_control":1}],"user":"u"}`, `{"prompt":[[1,2]]}`, `{"prompt":["a"]}`,
		`{"input":"x","instructions":"y"}`, `{"system":[{"text":"a","cache_control":{}}]}`, `{`, `{"`, `{"messages":[`, `{"messages":[{`, `{"messages"`,
		`{"messages":[{"a","cache_control"`, `{"prompt":[`, `{"prompt":"`, `{"user":`, ``, ` `, `[]`, `{"messages":[{"cache_control":`,
	} {
		for d := range uint8(5) {
			f.Add(d, []byte(body))
		}
	}
	used := new(Prompt)
	f.Fuzz(func(t *testing.T, d uint8, body []byte) {
		dialect := openai.Dialect(d % 5)
		longest, err := splice.ScanLongest(body, 256, nil, nil)
		if err != nil {
			longest = splice.Value{}
		}
		used.Read(dialect, "m", "", body, longest)
		fresh := new(Prompt)
		fresh.Read(dialect, "m", "", body, splice.Value{})
		if err == nil && (!slices.Equal(used.blocks, fresh.blocks) || used.Session != fresh.Session || used.head != fresh.head) {
			t.Errorf("read anew: got %v, want %v", used.blocks, fresh.blocks)
		}
		if len(used.blocks) > 1+maxSystem+MaxBlocks || len(used.blocks) > 0 && used.head < 1 {
			t.Errorf("%d blocks, of which gateways agree by %d", len(used.blocks), used.head)
		}
	})
}

// chatOf is a chat of so many bytes, in messages of a kilobyte.
func chatOf(size int) []byte {
	var messages []string
	for n := 0; n*1024 < size; n++ {
		messages = append(messages, message([]string{"user", "assistant"}[n%2], fmt.Sprintf("%d ", n)+strings.Repeat("abc ", 240)))
	}
	return []byte(`{"model":"m","messages":[` + strings.Join(messages, ",") + `],"stream":true}`)
}
