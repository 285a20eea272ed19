package balance

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/openai"
	"github.com/simpleaigateway/caddy-ai-gateway/internal/splice"
)

// TestLeastLoad guards that work is spread by weight, whatever its pieces are.
func TestLeastLoad(t *testing.T) {
	for _, weights := range [][]int{{1, 1}, {1, 1, 1, 1}, {1, 2, 4}, {1, 1, 10}, slices.Repeat([]int{1}, 64)} {
		s := setOf(weights...)
		s.Seed(rand.New(rand.NewPCG(1, 2)))
		sizes := rand.New(rand.NewPCG(3, 4))
		total, sum := 0.0, 0
		for range 200 * len(weights) {
			a := Ask{Bytes: 4 * (50 + sizes.IntN(500))}
			n := s.LeastLoad(a, all)
			s.Server(n).Load.Begin(a.Tokens(0))
			total += float64(a.Tokens(0))
		}
		for _, w := range weights {
			sum += w
		}
		for n, w := range weights {
			want := total * float64(w) / float64(sum)
			if got := float64(s.Server(n).Load.Own()); math.Abs(got-want) > 0.1*want {
				t.Errorf("weights %v: server %d has %.0f tokens, want about %.0f", weights, n, got, want)
			}
		}
	}
}

// TestFewUsable guards that a server which can be used is found however few there are.
func TestFewUsable(t *testing.T) {
	for _, weights := range [][]int{{1}, {1, 1}, slices.Repeat([]int{1}, 200), append(slices.Repeat([]int{1}, 200), 1000)} {
		s := setOf(weights...)
		p := read(t, openai.Chat, `{"messages":[`+message("user", "hi")+`]}`)
		for only := range weights {
			usable := func(n int) bool { return n == only }
			if got := s.LeastLoad(Ask{}, usable); got != only {
				t.Fatalf("least load: got %d, want %d of %d", got, only, len(weights))
			}
			if got := s.Affinity(new(Table), p, Ask{}, usable); got != only {
				t.Fatalf("affinity: got %d, want %d of %d", got, only, len(weights))
			}
		}
		if a, b := s.LeastLoad(Ask{}, func(int) bool { return false }), s.Affinity(new(Table), p, Ask{}, func(int) bool { return false }); a != -1 || b != -1 {
			t.Errorf("none can be used: got %d and %d, want -1", a, b)
		}
	}
	if got := setOf().LeastLoad(Ask{}, all); got != -1 {
		t.Errorf("no servers: got %d, want -1", got)
	}
}

// gateway is a set and what one gateway knows.
type gateway struct {
	*Set
	table *Table
}

func newGateway(servers int) *gateway {
	return &gateway{setOf(slices.Repeat([]int{1}, servers)...), new(Table)}
}

// sends chooses for a body, and counts nothing as load.
func (g *gateway) sends(t testing.TB, session, body string) (n int, p *Prompt) {
	t.Helper()
	p = new(Prompt)
	p.Read(openai.Chat, "m", session, []byte(body), splice.Value{})
	n = g.Affinity(g.table, p, Ask{Bytes: len(body)}, all)
	g.table.Record(p, g.Server(n))
	return n, p
}

func talkOf(id, turns int) string {
	body := `{"messages":[` + message("system", "be brief")
	for n := range turns {
		body += "," + message("user", fmt.Sprintf("question %d of talk %d, ", n, id)+strings.Repeat("at length ", 40)) + "," + message("assistant", fmt.Sprintf("answer %d", n))
	}
	return body + `]}`
}

// TestTalksStay guards that each conversation stays with its server, that the servers have
// about as many, and that a server which has lost its cache loses its conversations.
func TestTalksStay(t *testing.T) {
	g := newGateway(4)
	const talks = 400
	at := make([]int, talks)
	for turn := range 5 {
		moved := 0
		for id := range talks {
			// As if each answer took a while: what is under way spreads what is new.
			n, p := g.sends(t, "", talkOf(id, turn+1))
			if g.Server(n).Load.Begin(100); id%8 == 7 {
				for k := range 4 {
					g.Server(k).Load.End(g.Server(k).Load.Own())
				}
			}
			if turn > 0 && n != at[id] {
				moved++
			}
			if turn > 0 && n == at[id] && p.Cached < 400*turn {
				t.Fatalf("talk %d, turn %d: %d bytes taken to be cached", id, turn, p.Cached)
			}
			at[id] = n
		}
		if moved > talks/20 {
			t.Errorf("turn %d: %d of %d talks have moved", turn, moved, talks)
		}
		counts := make(map[int]int)
		for _, n := range at {
			counts[n]++
		}
		for n := range 4 {
			if counts[n] < talks/4/2 || counts[n] > talks/4*2 {
				t.Errorf("turn %d: talks by server are %v, want about %d each", turn, counts, talks/4)
			}
		}
	}
	lost := at[0]
	g.Server(lost).Load.Forget()
	for id, n := range at {
		if p := read(t, openai.Chat, talkOf(id, 5)); n == lost {
			if known := p.known(g.table); known == 0 {
				t.Fatal("the table has forgotten the blocks, want the server's share in them alone")
			}
			if g.Affinity(g.table, p, Ask{Bytes: 500}, all); p.Cached > 700 {
				t.Errorf("talk %d of the server that lost its cache: %d bytes taken to be cached", id, p.Cached)
			}
		}
	}
}

// TestHotPrefix guards that a prompt which everybody asks for spreads to more servers as
// the load does, and that those are then known to have it.
func TestHotPrefix(t *testing.T) {
	g := newGateway(8)
	body := `{"messages":[` + message("system", string(chatOf(16<<10))) + `,` + message("user", "q") + `]}`
	used := make(map[int]int)
	for range 400 {
		n, p := g.sends(t, "", body)
		g.Server(n).Load.Begin(Ask{Bytes: len(body), Output: 200}.Tokens(p.Cached))
		used[n]++
	}
	if len(used) < 4 {
		t.Errorf("requests by server are %v, want at least four servers", used)
	}
	most := 0
	for n := range used {
		most = max(most, used[n])
	}
	if most > 200 {
		t.Errorf("requests by server are %v, want at most half on one", used)
	}
	_, p := g.sends(t, "", body)
	if p.Cached < 15<<10 {
		t.Errorf("%d bytes taken to be cached", p.Cached)
	}
	if m, known := g.table.look(p.blocks[len(p.blocks)-1].hash); !known || m[1] == 0 || m[0] == m[1] {
		t.Errorf("the table knows %v to have the prompt, want several", m)
	}
}

// TestBound guards the cap: what a server has cached does not draw more to it once it has
// much more to do than the mean.
func TestBound(t *testing.T) {
	g := newGateway(4)
	body := talkOf(1, 3)
	first, _ := g.sends(t, "", body)
	again, _ := g.sends(t, "", body)
	if again != first {
		t.Fatalf("sent to %d and then to %d", first, again)
	}
	session, _ := g.sends(t, "s", body)
	if n, _ := g.sends(t, "s", talkOf(2, 1)); n != session {
		t.Fatalf("the session is sent to %d and then to %d", session, n)
	}
	g.Server(first).Load.Begin(100_000)
	if n, _ := g.sends(t, "", body); n == first {
		t.Error("sent to the server with all the load")
	}
	g.Server(session).Load.Begin(100_000)
	if n, _ := g.sends(t, "s", body); n == session {
		t.Error("the session is sent to the server with all the load")
	}
}

// TestGatewaysAgree guards that gateways which know nothing of each other send what they
// have not seen to the same servers, and that a server more moves its share of it alone.
func TestGatewaysAgree(t *testing.T) {
	const servers, talks = 8, 800
	for _, session := range []bool{false, true} {
		moved := 0
		counts := make(map[int]int)
		for id := range talks {
			body, name := `{"messages":[`+message("user", fmt.Sprintf("question of talk %d", id))+`]}`, ""
			if session {
				name = fmt.Sprintf("session %d", id)
			}
			send := func(servers int) int {
				n, _ := newSmall(servers).sends(t, name, body)
				return n
			}
			a, b, more := send(servers), send(servers), send(servers+1)
			if a != b {
				t.Fatalf("talk %d: two gateways choose %d and %d", id, a, b)
			}
			if counts[a]++; more != a {
				if moved++; more != servers {
					t.Fatalf("talk %d moves from %d to %d, which is not the new server", id, a, more)
				}
			}
		}
		if moved < talks/servers/2 || moved > 2*talks/servers {
			t.Errorf("%d of %d talks move to the ninth server, want about a ninth", moved, talks)
		}
		for n := range servers {
			if counts[n] < talks/servers/2 || counts[n] > 2*talks/servers {
				t.Errorf("talks by server are %v, want about %d each", counts, talks/servers)
			}
		}
	}
}

var smallTable = new(Table)

// newSmall is newGateway with a table that has been emptied, which is cheaper.
func newSmall(servers int) *gateway {
	*smallTable = Table{}
	return &gateway{setOf(slices.Repeat([]int{1}, servers)...), smallTable}
}

// TestYield guards that of the two servers that rank highest the second is chosen if it has
// less to do: much less for a session, which the first may have, and none else.
func TestYield(t *testing.T) {
	s := setOf(1, 1, 1, 1)
	for n := range s.Len() {
		s.Server(n).Load.Begin(10_000)
	}
	const key = 5
	choose := func(lead float64) int { return s.rendezvous(key, lead, Ask{Bytes: 400}, math.Inf(1), all) }
	first := choose(yield)
	s.Server(first).Load.Begin(2000)
	second := choose(1)
	if got := choose(yield); got != first || second == first {
		t.Errorf("a fifth more to do: got %d for a session and %d else, want %d and another one", got, second, first)
	}
	s.Server(first).Load.Begin(2000)
	if got := choose(yield); got != second {
		t.Errorf("two fifths more to do: got %d for a session, want %d", got, second)
	}
	s.Server(second).Load.Begin(100_000)
	if got := choose(yield); got != first {
		t.Errorf("both have more to do than the others: got %d, want %d, and none of the others", got, first)
	}
}

// TestRankByWeight guards that keys belong to servers by weight.
func TestRankByWeight(t *testing.T) {
	s := setOf(1, 2, 5)
	counts := make(map[int]int)
	for key := range uint64(8000) {
		counts[s.rendezvous(mix(key, 3), yield, Ask{}, math.Inf(1), all)]++
	}
	for n, want := range []int{1000, 2000, 5000} {
		if got := counts[n]; math.Abs(float64(got-want)) > 0.1*float64(want) {
			t.Errorf("server %d has %d keys of 8,000, want about %d", n, got, want)
		}
	}
}

// busySet is a set of servers that all have something to do and gauges.
func busySet(servers int) *Set {
	s := setOf(slices.Repeat([]int{1}, servers)...)
	for n := range servers {
		s.Server(n).Load.Begin(int64(1000 + n))
		s.Server(n).Load.Observe(Gauges{Running: 3, Waiting: 1, KV: 0.9}, 1, time.Second)
	}
	return s
}

// TestNoAllocations guards that neither a pick nor reading a prompt allocates.
func TestNoAllocations(t *testing.T) {
	s, table, p, body := busySet(64), new(Table), new(Prompt), chatOf(32<<10)
	a := Ask{Now: 2 * time.Second, Bytes: len(body)}
	if got := testing.AllocsPerRun(100, func() { s.LeastLoad(a, all) }); got != 0 {
		t.Errorf("least load: got %g allocations, want none", got)
	}
	if got := testing.AllocsPerRun(100, func() {
		p.Read(openai.Chat, "m", "a session", body, splice.Value{})
		table.Record(p, s.Server(s.Affinity(table, p, a, all)))
		p.Read(openai.Chat, "m", "", body, splice.Value{})
		table.Record(p, s.Server(s.Affinity(table, p, a, all)))
	}); got != 0 {
		t.Errorf("affinity: got %g allocations, want none", got)
	}
}

func BenchmarkLeastLoad(b *testing.B) {
	s := busySet(64)
	b.ReportAllocs()
	for b.Loop() {
		s.LeastLoad(Ask{Now: 2 * time.Second, Bytes: 4000}, all)
	}
}

// BenchmarkAffinity reads a prompt of 32 KB, chooses among 64 servers and records the choice.
func BenchmarkAffinity(b *testing.B) {
	for _, known := range []bool{true, false} {
		b.Run(fmt.Sprintf("known=%v", known), func(b *testing.B) {
			s, table, p, body := busySet(64), new(Table), new(Prompt), chatOf(32<<10)
			digits := body[len(`{"model":"m","messages":[{"role":"user","content":"`):][:8]
			longest, err := splice.ScanLongest(body, 256, nil, nil)
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for n := 0; b.Loop(); n++ {
				if !known { // another prompt each time
					for k, left := 0, n; k < len(digits); k, left = k+1, left/10 {
						digits[k] = '0' + byte(left%10)
					}
				}
				p.Read(openai.Chat, "m", "", body, longest)
				table.Record(p, s.Server(s.Affinity(table, p, Ask{Now: 2 * time.Second, Bytes: len(body)}, all)))
			}
		})
	}
	b.Run("one message", func(b *testing.B) {
		s, table, p, body := busySet(64), new(Table), new(Prompt), []byte(`{"messages":[`+message("user", string(chatOf(32<<10)))+`]}`)
		longest, err := splice.ScanLongest(body, 256, nil, nil)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for b.Loop() {
			p.Read(openai.Chat, "m", "", body, longest)
			table.Record(p, s.Server(s.Affinity(table, p, Ask{Now: 2 * time.Second, Bytes: len(body)}, all)))
		}
	})
}
