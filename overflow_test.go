package aigateway

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// tooLongReplies are what servers say of a prompt that is longer than their context.
var tooLongReplies = map[string]string{
	"OpenAI":           `{"error":{"message":"This model's maximum context length is 128000 tokens. However, your messages resulted in 150001 tokens. Please reduce the length of the messages.","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}`,
	"OpenAI responses": `{"error":{"message":"Your input exceeds the context window of this model. Please adjust your input and try again.","type":"invalid_request_error","param":"input","code":"context_length_exceeded"}}`,
	"vLLM 0.8":         `{"object":"error","message":"This model's maximum context length is 16384 tokens. However, you requested 19591 tokens (9591 in the messages, 10000 in the completion). Please reduce the length of the messages or completion. None","type":"BadRequestError","param":null,"code":400}`,
	"vLLM 0.17":        `{"error":{"message":"You passed 98305 input tokens and requested 32768 output tokens. However, the model's context length is only 131072 tokens, resulting in a maximum input length of 98304 tokens. Please reduce the length of the input prompt. (parameter=input_tokens, value=98305)","type":"BadRequestError","param":"input_tokens","code":400}}`,
	"vLLM messages":    `{"type":"error","error":{"type":"BadRequestError","message":"You passed 99073 input tokens and requested 32000 output tokens. However, the model's context length is only 131072 tokens, resulting in a maximum input length of 99072 tokens. Please reduce the length of the input prompt. (parameter=input_tokens, value=99073)"}}`,
	"vLLM pictures":    `{"object":"error","message":"The decoder prompt (length 10127) is longer than the maximum model length of 8192. Make sure that max_model_len is no smaller than the number of text tokens plus multimodal tokens.","type":"BadRequestError","param":null,"code":400}`,
	"SGLang":           `{"object":"error","message":"The input (61709 tokens) is longer than the model's context length (40960 tokens).","type":"BadRequestError","param":null,"code":400}`,
	"SGLang memory":    `{"object":"error","message":"Input length (160062 tokens) exceeds the maximum allowed length (59862 tokens). Use a shorter input or enable --allow-auto-truncate.","type":"BadRequestError","param":null,"code":400}`,
	"llama.cpp":        `{"error":{"code":400,"message":"the request exceeds the available context size. try increasing the context size or enable context shift","type":"exceed_context_size_error","n_prompt_tokens":14429,"n_ctx":8192}}`,
	"Anthropic":        `{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 208656 tokens > 200000 maximum"},"request_id":"req_011Cb691naMZfUYHaJNPd2Xh"}`,
	"Anthropic answer": "{\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\",\"message\":\"input length and `max_tokens` exceed context limit: 178902 + 32000 > 200000, decrease input length or `max_tokens` and try again\"}}",
	"Ollama":           `{"error":"the input length exceeds the context length"}`,
	"Gemini":           `{"error":{"code":400,"message":"The input token count (1196265) exceeds the maximum number of tokens allowed (1048575).","status":"INVALID_ARGUMENT"}}`,
}

// otherRefusals are errors of clients that another context would not help.
var otherRefusals = []string{
	`{"error":{"message":"max_tokens is too large: 32000. This model supports at most 16384 completion tokens.","type":"invalid_request_error","param":"max_tokens","code":"invalid_value"}}`,
	`{"error":{"message":"Invalid 'messages[0].content': string too long. Expected a string with maximum length 1048576.","type":"invalid_request_error","code":"string_above_max_length"}}`,
	`{"detail":[{"loc":["body","temperature"],"msg":"value is not a valid float"}]}`,
	`{"object":"error","message":"max_tokens must be at least 1, got -186.","type":"BadRequestError","param":null,"code":400}`,
	``,
}

// TestSaysTooLong guards which refusals say that the prompt is longer than the context.
func TestSaysTooLong(t *testing.T) {
	rejected := verdict{outcome: outcomeRejected, reason: reasonContext}
	for server, body := range tooLongReplies {
		for _, ownKey := range []bool{false, true} {
			if got := judgeStatus(400, &reply{status: 400, body: []byte(body)}, ownKey); got != rejected {
				t.Errorf("%s: got %+v, want %+v", server, got, rejected)
			}
		}
		for _, status := range []int{404, 413, 429, 500} {
			if got := judgeStatus(status, &reply{status: status, body: []byte(body)}, false); got.reason == reasonContext {
				t.Errorf("%s with status %d: got %+v", server, status, got)
			}
		}
	}
	tgi := "{\"error\":\"Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000 `inputs` tokens and 100 `max_new_tokens`\",\"error_type\":\"validation\"}"
	if got := judgeStatus(422, &reply{status: 422, body: []byte(tgi)}, false); got != rejected {
		t.Errorf("TGI: got %+v, want %+v", got, rejected)
	}
	for _, body := range otherRefusals {
		if got := judgeStatus(400, &reply{status: 400, body: []byte(body)}, false); got.reason != reasonStatus || got.outcome != outcomeRejected {
			t.Errorf("%s: got %+v, want it rejected for its status", body, got)
		}
	}
}

// startNarrow runs an instance that refuses every request as too long, with refusal.
func startNarrow(t testing.TB, refusal string) *witness {
	t.Helper()
	return startWitness(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		io.WriteString(w, refusal)
	})
}

// sized is an entry of instances with more members.
func sized(name, url, model, members string) string {
	return fmt.Sprintf(`{"name": %q, "url": %q, "model_name": %q%s}`, name, url, model, members)
}

// overflowing returns a fleet's file with more members and the instances of both tiers:
// where both can be used, the first is asked first.
func overflowing(members, first string, others ...string) string {
	return `{` + members + `, "instances": [` + first + `], "fallback_instances": [` + strings.Join(others, ", ") + `]}`
}

// wordy is a request for a chat whose prompt has so many words.
func wordy(words int) string {
	return `{"model":"m","messages":[{"role":"user","content":"` + strings.Repeat("word ", words) + `"}]}`
}

// answersAs checks who answered, with which status and after how many attempts.
func answersAs(t testing.TB, what string, r received, upstream string, status, attempts int) {
	t.Helper()
	got := fmt.Sprint(r.header.Get("X-Ai-Gateway-Upstream"), " ", r.status, " after ", r.header.Get("X-Ai-Gateway-Attempts"))
	if want := fmt.Sprint(upstream, " ", status, " after ", attempts); got != want || r.err != nil {
		t.Errorf("%s: got %s, error %v: %.300s; want %s", what, got, r.err, r.body, want)
	}
}

// TestLongPrompt guards that a prompt which is surely longer than an instance's context goes
// to one that may have room, whatever the policy, and others go as ever.
func TestLongPrompt(t *testing.T) {
	for _, strategy := range strategies {
		t.Run(strategy, func(t *testing.T) {
			small, large, unknown := startWitness(t, nil), startWitness(t, nil), startWitness(t, nil)
			g := startGateway(t, `{"load_balancing_strategy": "`+strategy+`", "instances": [`+sized("small", small.URL, "m", `, "context_length": 2000, "weight": 9`)+`, `+
				sized("large", large.URL, "m", `, "context_length": 8000`)+`, `+sized("unknown", unknown.URL, "m", "")+`]}`)
			for range 12 {
				wantWhole(t, g.sends(t, chatPath, wordy(3000)))
			}
			if small.count() != 0 || large.count()+unknown.count() != 12 {
				t.Errorf("of 3000 words: got %d, %d, %d requests, want none at the small one", small.count(), large.count(), unknown.count())
			}
			before := large.count()
			for range 6 {
				answersAs(t, "9000 words", g.sends(t, chatPath, wordy(9000)), "unknown", 200, 1)
			}
			if small.count() != 0 || large.count() != before {
				t.Error("of 9000 words: one was asked that has no room")
			}
			for n := range 30 { // they may be too long, but not surely
				wantWhole(t, g.sends(t, chatPath, strings.Replace(wordy(1500), "word", fmt.Sprint(n), 1)))
			}
			if small.count() == 0 {
				t.Error("of 1500 words: the small one was asked nothing")
			}
		})
	}
}

// TestLongPromptWithoutRoom guards that a prompt which is too long for all goes the usual
// way and is refused by an instance in its own words, that one which drains has no room, and
// that this holds for those that wait too.
func TestLongPromptWithoutRoom(t *testing.T) {
	refusal := tooLongReplies["vLLM 0.8"]
	small, large := startNarrow(t, refusal), startWitness(t, nil)
	file := func(members string) string {
		return overflowing(`"queue": {"max_wait": 60}`, sized("small", small.URL, "m", `, "context_length": 2000`), sized("large", large.URL, "m", `, "context_length": 8000`+members))
	}
	g := startGateway(t, file(""))
	answersAs(t, "room in the other", g.sends(t, chatPath, wordy(3000)), "large", 200, 1)
	answersAs(t, "no room anywhere", g.sends(t, chatPath, wordy(9000)), "small", 400, 1)
	g.save(t, file(`, "drain": true`))
	if r := g.sends(t, chatPath, wordy(3000)); r.body != refusal {
		t.Errorf("got %s, want the instance's own words", r.body)
	}
	g.wantMarks(t, "refusals", 0, 0)

	g.save(t, file(`, "max_concurrency": 1`))
	i := g.store.snapshot().fleet.instances[1]
	if !i.lease() {
		t.Fatal("the larger one is full already")
	}
	waits := make(chan received, 1)
	go func() { waits <- g.sends(t, chatPath, wordy(3000)) }()
	g.wantWaiting(t, 1)
	i.free()
	answersAs(t, "waited for the larger one", <-waits, "large", 200, 1)
	if !i.lease() {
		t.Fatal("the larger one is full already")
	}
	go func() { waits <- g.sends(t, chatPath, wordy(3000)) }()
	g.wantWaiting(t, 1)
	g.save(t, file(`, "max_concurrency": 1, "drain": true`))
	answersAs(t, "the larger one begins to drain", <-waits, "small", 400, 1)
	i.free()
	g.wantIdle(t)
}

// TestLongPromptRoomGone guards that a prompt for which only instances that are out of order
// may have room goes on to one that refuses it in its own words.
func TestLongPromptRoomGone(t *testing.T) {
	refusal := tooLongReplies["vLLM 0.8"]
	small := startNarrow(t, refusal)
	for _, members := range []string{"", `, "context_length": 8000`} {
		g := startGateway(t, overflowing(`"queue": {"max_wait": 60}`, sized("small", small.URL, "m", `, "context_length": 2000`), sized("gone", "http://"+freeAddress(t), "m", members)))
		for range 6 { // more than eject it
			if r := g.sends(t, chatPath, wordy(3000)); r.status != http.StatusBadRequest || r.body != refusal {
				t.Errorf("got %d %s, want the refusal of the small one", r.status, r.body)
			}
		}
	}
}

// TestOverflow guards, in all dialects and for all servers' words, that a refused prompt
// goes on to the instance of the pool that has more room, and that nobody has failed.
func TestOverflow(t *testing.T) {
	for server, refusal := range tooLongReplies {
		t.Run(server, func(t *testing.T) {
			small, same, large := startNarrow(t, refusal), startWitness(t, nil), startStandIn(t, "large")
			g := startMeasured(t, overflowing(`"overflow": {"enabled": true}, "retries": {"ratio": 0.0001}`, sized("small", small.URL, "m", `, "context_length": 2000`),
				sized("same", same.URL, "m", `, "context_length": 2000`), sized("unknown", same.URL+"/unknown", "m", ""), sized("large", large.url, "m", `, "context_length": 8000`)))
			before, asked := g.series(t), 0.0
			for path, body := range streamRequests {
				for _, body := range []string{body + "}", strings.Replace(body, `"stream":true,`, "", 1) + "}"} {
					r := g.sends(t, path, body)
					answersAs(t, path, r, "large", 200, 2)
					asked++
					if r.header.Get("X-Ai-Gateway-Overflow") != "" || strings.Contains(r.body, `"error":{`) {
						t.Errorf("%s: got %v %.300s", path, r.header, r.body)
					}
				}
			}
			g.wantMarks(t, "refusals", 0, 0, 0, 0)
			if same.count() != 0 {
				t.Errorf("those without more room were asked %d times", same.count())
			}
			eventually(t, "all requests to be counted", func() bool {
				got := moved(before, g.series(t))
				return got[attempts("small", "m", "rejected", "context_length")] == asked && got[attempts("large", "m", "ok", "")] == asked && got[requests("m", "ok")] == asked
			})
		})
	}
}

// TestOverflowIsOff guards that without overflow.enabled a refusal is the client's at once,
// and so are others with it.
func TestOverflowIsOff(t *testing.T) {
	for members, bodies := range map[string][]string{`"overflow": {"models": {"m": "m2"}}`: {tooLongReplies["SGLang"]}, `"overflow": {"enabled": true, "models": {"m": "m2"}}`: otherRefusals} {
		for _, refusal := range bodies {
			t.Run(refusal, func(t *testing.T) {
				small, large := startNarrow(t, refusal), startWitness(t, nil)
				g := startGateway(t, overflowing(members, sized("small", small.URL, "m", `, "context_length": 2000`), sized("large", large.URL, "m", `, "context_length": 8000`),
					sized("other", large.URL+"/2", "m2", "")))
				r := g.sends(t, chatPath, chat(""))
				answersAs(t, "refused", r, "small", 400, 1)
				if r.body != refusal || large.count() != 0 {
					t.Errorf("got %s, and %d requests at the others", r.body, large.count())
				}
			})
		}
	}
}

// TestOverflowModel guards that, with no more room in the pool, the model of the file is
// asked by its own name, and that client, record and trace are told which.
func TestOverflowModel(t *testing.T) {
	refusal := tooLongReplies["llama.cpp"]
	small := startNarrow(t, refusal)
	long := startWitness(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, chatUsing(10, 40))
	})
	for _, c := range []struct{ members, sent string }{{"", "m-long"}, {`, "upstream_model": "org/M-1M"`, "org/M-1M"}} {
		t.Run(c.sent, func(t *testing.T) {
			spans.Reset()
			g := startTraced(t, overflowing(`"overflow": {"enabled": true, "models": {"*": "m-long"}}`, sized("small", small.URL, "m", ""), sized("long", long.URL, "m-long", c.members)))
			r := g.sends(t, chatPath, chat(`,"max_tokens":40`))
			answersAs(t, c.sent, r, "long", 200, 2)
			if got := r.header.Get("X-Ai-Gateway-Overflow"); got != "m-long" {
				t.Errorf("got the header %q, want m-long", got)
			}
			if got, want := long.last(t).body, strings.Replace(chat(`,"max_tokens":40`), `"m"`, `"`+c.sent+`"`, 1); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
			if got := g.waitRecords(t, mainFolder, 1)[0]; !strings.Contains(got.Meta, `"overflow":"m-long"`) {
				t.Errorf("the record has meta %s", got.Meta)
			}
			eventually(t, "the spans", func() bool { return len(spans.Ended()) == 3 })
			first, second := fmt.Sprint(spans.Ended()[0].Attributes()), fmt.Sprint(spans.Ended()[1].Attributes())
			if !strings.Contains(first, "context_length") || !strings.Contains(first, "rejected") || !strings.Contains(second, c.sent) {
				t.Errorf("got the spans %s and %s", first, second)
			}
			g.wantMarks(t, "refusals", 0, 0)
			before := long.count()
			answersAs(t, "the other model itself", g.sends(t, chatPath, strings.Replace(chat(""), `"m"`, `"m-long"`, 1)), "long", 200, 1)
			if long.count() != before+1 || strings.Contains(long.last(t).body, `"m"`) {
				t.Errorf("got %s", long.last(t).body)
			}
		})
	}
}

// TestOverflowComesToNothing guards what the client gets where no more room helps: the
// refusal of the instance that was asked last, or the first one's if the next is out of order.
func TestOverflowComesToNothing(t *testing.T) {
	first, second := tooLongReplies["SGLang"], tooLongReplies["OpenAI"]
	small, larger, broken := startNarrow(t, first), startNarrow(t, second), "http://"+freeAddress(t)+"/v1"
	members := `"overflow": {"enabled": true, "models": {"m": "m2", "m2": "m3"}}`
	f := func(name, file, upstream, body string, attempts int) {
		t.Run(name, func(t *testing.T) {
			g := startGateway(t, file)
			r := g.sends(t, chatPath, chat(""))
			answersAs(t, name, r, upstream, 400, attempts)
			if r.body != body {
				t.Errorf("got %s, want %s", r.body, body)
			}
			g.wantIdle(t)
		})
	}
	one, three := sized("one", small.URL, "m", `, "context_length": 2000`), sized("three", startWitness(t, nil).URL, "m3", "")
	f("both refuse", overflowing(members, one, sized("two", larger.URL, "m2", ""), three), "two", second, 2)
	f("second is out of order", overflowing(members, one, sized("two", broken, "m2", ""), three), "two", first, 2)
	f("second is known to be smaller", overflowing(members, one, sized("two", larger.URL, "m2", `, "context_length": 1000`), three), "one", first, 1)
	f("second drains", overflowing(members, one, sized("two", larger.URL, "m2", `, "drain": true`), three), "one", first, 1)
	f("one attempt", overflowing(members+`, "retries": {"attempts": 1}`, one, sized("two", larger.URL, "m2", ""), three), "one", first, 1)
	f("large body", overflowing(members+`, "retries": {"max_body": 10}`, one, sized("two", larger.URL, "m2", ""), three), "one", first, 1)
	f("not JSON", overflowing(members, sized("one", startNarrow(t, "prompt is too long").URL, "m", ""), sized("two", larger.URL, "m2", ""), three), "one", "prompt is too long", 1)
}

// TestOverflowKeys guards that the other model is asked only for keys that may ask for it
// and can pay its price, and that this price is what is counted.
func TestOverflowKeys(t *testing.T) {
	small := startNarrow(t, tooLongReplies["llama.cpp"])
	long := startWitness(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, chatUsing(10, 40))
	})
	keys := []string{
		keyEntry("all", 1, `, "budgets": {"daily_cost": 1, "daily_tokens": 100000}`), keyEntry("one", 2, `, "models": ["m"]`), keyEntry("two", 3, `, "models": ["m", "m-long"]`),
		keyEntry("poor", 4, `, "budgets": {"daily_cost": 0.001}`),
	}
	g := startGateway(t, overflowing(`"overflow": {"enabled": true, "models": {"m": "m-long"}}, "prices": {"m": {"prompt": 1, "completion": 1}, "m-long": {"prompt": 100, "completion": 1000}},
		"keys": [`+strings.Join(keys, ", ")+`]`, sized("small", small.URL, "m", ""), sized("long", long.URL, "m-long", "")))
	body := chat(`,"max_tokens":40`)
	for key, want := range map[int]string{1: "long", 2: "small", 3: "long", 4: "small"} {
		status, attempts := map[string]int{"long": 200, "small": 400}[want], map[string]int{"long": 2, "small": 1}[want]
		answersAs(t, fmt.Sprint("key ", key), g.send(t, "POST", chatPath, body, bearer(key)), want, status, attempts)
	}
	g.wantIdle(t)
	today, _ := g.store.snapshot().keys.all[0].counter().Sums(time.Now())
	if got := today["m-long"]; got.Prompt != 10 || got.Completion != 40 || got.Cost != 10*100+40*1000 || len(today) != 1 {
		t.Errorf("got %+v counted, want it for m-long at its price", today)
	}
	for n, k := range g.store.snapshot().keys.all {
		for _, s := range k.counter().States(time.Now(), &k.budget) {
			if s.Reserved != 0 {
				t.Errorf("key %d: got %d of %s reserved after all requests, want none", n+1, s.Reserved, s.Name)
			}
		}
	}
}
