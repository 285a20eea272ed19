package sharegpt

import (
	"fmt"
	"strings"
	"testing"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/openai"
)

// project returns the records of an exchange and the first line decoded.
func project(t *testing.T, o Options, x *Exchange) ([]Record, line, map[string]any) {
	t.Helper()
	if x.HTTP == 0 {
		x.HTTP = 200
	}
	_, records, err := NewProjector(o).Append(nil, x, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		if r.Folder != None {
			l, meta := readLine(t, r.Line)
			return records, l, meta
		}
	}
	return records, line{}, nil
}

// turns writes a conversation on one line: s: u: a: c: o: for the roles.
func turns(l line) string {
	short := map[string]string{"system": "s", "human": "u", "gpt": "a", "function_call": "c", "observation": "o"}
	var b strings.Builder
	for i, t := range l.Conversations {
		if i > 0 {
			b.WriteString(" | ")
		}
		b.WriteString(short[t.From] + ":" + strings.ReplaceAll(t.Value, "\n", "~"))
	}
	return b.String()
}

// said is an answer that says yes.
func said(d openai.Dialect) *openai.Answer {
	return &openai.Answer{Dialect: d, Ended: true, Choices: []openai.Choice{{Role: "assistant", Content: "yes", Finish: "stop"}}}
}

// TestConversation holds the mapping of requests, one rule a row. The answer is
// always yes.
func TestConversation(t *testing.T) {
	f := func(d openai.Dialect, request, want, flags string) {
		t.Helper()
		_, l, meta := project(t, all, &Exchange{ID: "x", Request: []byte(request), Answer: said(d)})
		if got := turns(l); got != want {
			t.Errorf("%s: got %s, want %s", request, got, want)
		}
		if got := strings.Trim(fmt.Sprint(meta["flags"]), "[]"); got != flags {
			t.Errorf("%s: got flags %q, want %q", request, got, flags)
		}
	}
	chat := func(messages, want, flags string) {
		t.Helper()
		f(openai.Chat, `{"messages":[`+messages+`]}`, want, flags)
	}
	const (
		sys  = `{"role":"system","content":"S"},`
		user = `{"role":"user","content":"U"}`
		call = `,{"role":"assistant","content":null,"tool_calls":[{"id":"i","function":{"name":"f","arguments":"{\"a\": 1}"}}]}`
		two  = `,{"role":"assistant","tool_calls":[{"id":"i","function":{"name":"f","arguments":""}},{"id":"j","function":{"name":"g"}}]}`
		tool = `,{"role":"tool","tool_call_id":"i","content":"R"}`
	)
	chat(user, "u:U | a:yes", "")
	chat(sys+`{"role":"developer","content":"D"},`+user, "s:S~~D | u:U | a:yes", "")
	chat(user+`,{"role":"system","content":"S"}`, "u:U~~S | a:yes", "merged_turns mid_system_as_human")
	chat(user+`,{"role":"assistant","content":"A"},{"role":"developer","content":"S"}`, "u:U | a:A | u:S | a:yes", "mid_system_as_human")
	chat(``, "u: | a:yes", "padded_turn")
	chat(strings.TrimSuffix(sys, ","), "s:S | u: | a:yes", "padded_turn")
	chat(`{"role":"assistant","content":"A"},`+user, "u: | a:A | u:U | a:yes", "padded_turn")
	chat(user+","+user, "u:U~~U | a:yes", "merged_turns")
	chat(user+`,{"role":"assistant","content":"A"}`, "u:U | a:A~~yes", "merged_turns")
	chat(user+`,{"role":"assistant","content":""},`+user, "u:U~~U | a:yes", "merged_turns")
	chat(user+call+tool, `u:U | c:{"name":"f","arguments":{"a":1}} | o:R | a:yes`, "")
	chat(user+call, `u:U | c:{"name":"f","arguments":{"a":1}} | o: | a:yes`, "padded_turn")
	chat(user+call+tool+","+user, `u:U | c:{"name":"f","arguments":{"a":1}} | o:R~~U | a:yes`, "merged_turns")
	chat(user+call+","+user, `u:U | c:{"name":"f","arguments":{"a":1}} | u:U | a:yes`, "")
	chat(user+two+tool+`,{"role":"tool","tool_call_id":"j","content":[{"type":"text","text":"Q"}]}`,
		`u:U | c:[{"name":"f","arguments":{}},{"name":"g","arguments":{}}] | o:[{"name":"f","content":"R"},{"name":"g","content":"Q"}] | a:yes`, "")
	chat(user+`,{"role":"assistant","content":"A"}`+call+tool, `u:U | c:{"name":"f","arguments":{"a":1}} | o:R | a:yes`, "merged_turns text_with_tool_call")
	chat(user+`,{"role":"assistant","content":"A","reasoning_content":"T","tool_calls":[{"function":{"name":"f","arguments":"{}"}}]}`+tool,
		`u:U | c:{"name":"f","arguments":{}} | o:R | a:yes`, "reasoning_with_tool_call text_with_tool_call")
	chat(user+`,{"role":"assistant","function_call":{"name":"f","arguments":"{}"}},{"role":"function","name":"f","content":"R"}`,
		`u:U | c:{"name":"f","arguments":{}} | o:R | a:yes`, "")
	chat(user+`,{"role":"assistant","tool_calls":[{"id":"i","function":{"name":"f","arguments":"{\"n\":9007199254740993,\"z\":\"\\u00e9\",\"a\":1.0}"}}]}`+tool,
		`u:U | c:{"name":"f","arguments":{"n":9007199254740993,"z":"é","a":1.0}} | o:R | a:yes`, "")
	chat(user+`,{"role":"assistant","tool_calls":[{"id":"i","function":{"name":"f","arguments":"{oops"}}]}`+tool,
		`u:U | c:{"name":"f","arguments":"{oops"} | o:R | a:yes`, "bad_tool_arguments")
	chat(user+`,{"role":"assistant","content":"\n\nA","reasoning":"\nT\n"},`+user, "u:U | a:<think>~T~</think>~~A | u:U | a:yes", "")
	chat(user+`,{"role":"assistant","content":"T</think>A"},`+user, "u:U | a:<think>~T</think>A | u:U | a:yes", "")
	chat(user+`,{"role":"assistant","content":"<think>T</think>A"},`+user, "u:U | a:<think>T</think>A | u:U | a:yes", "")
	chat(user+`,{"role":"assistant","content":"","refusal":"no"},`+user, "u:U | a:no | u:U | a:yes", "refusal")
	chat(user+`,{"role":"assistant","content":"A","prefix":true}`, "u:U | a:Ayes", "prefill")
	chat(`{"role":"user","content":[{"type":"text","text":"a"},{"type":"file","file":{}},{"type":"text","text":"b"}]}`, "u:a~b | a:yes", "dropped_part")
	chat(user+`,{"role":"assistant","content":[{"type":"text","text":"A"},{"type":"image_url","image_url":"http://x"}]},`+user, "u:U | a:A | u:U | a:yes", "dropped_part")
	chat(`{"role":"user","content":"see <image>"}`, "u:see <image> | a:yes", "")
	chat(`{"role":"critic","content":"C"}`, "u:C | a:yes", "unknown_role")
	chat(`{"role":"user","content":"\u00e9\ud83d\ude00\ud800\n<&>\u2028"}`, "u:é😀\uFFFD~<&>\u2028 | a:yes", "")
	f(openai.Chat, `{"messages":[`+user+`,{"role":"assistant","content":"A"}],"continue_final_message":true}`, "u:U | a:Ayes", "prefill")
	f(openai.Chat, `{"messages":[`+user+`,{"role":"assistant","content":"y"}],"continue_final_message":true,"echo":true}`, "u:U | a:yes", "prefill")
	f(openai.Messages, `{"system":[{"type":"text","text":"S"}],"messages":[`+user+`,{"role":"assistant","content":"A"}]}`, "s:S | u:U | a:Ayes", "prefill")
	f(openai.Messages, `{"messages":[`+user+`,{"role":"assistant","content":[{"type":"thinking","thinking":"T","signature":"x"},{"type":"tool_use","id":"i","name":"f","input":{ }}]},
		{"role":"user","content":[{"type":"text","text":"V"},{"type":"tool_result","tool_use_id":"i","content":[{"type":"text","text":"R"}]}]}]}`,
		`u:U | c:{"name":"f","arguments":{}} | o:R~~V | a:yes`, "merged_turns reasoning_with_tool_call")
	f(openai.Messages, `{"messages":[{"role":"user","content":[{"type":"document","source":{}},{"type":"text","text":"V"}]}],"tools":[{"type":"web_search_20250305","name":"web_search"}]}`,
		"u:V | a:yes", "dropped_part dropped_tool")
	f(openai.Responses, `{"instructions":"S","input":"U"}`, "s:S | u:U | a:yes", "")
	f(openai.Responses, `{"input":"U","previous_response_id":"r"}`, "u:U | a:yes", "partial_history")
	f(openai.Responses, `{"input":[{"type":"message","role":"user","content":[{"type":"input_text","text":"U"}]},{"type":"reasoning","summary":[{"type":"summary_text","text":"T"}]},
		{"type":"message","role":"assistant","content":[{"type":"output_text","text":"A"}]},{"type":"function_call","call_id":"i","name":"f","arguments":"{}"},
		{"type":"function_call","call_id":"j","name":"g","arguments":"{}"},{"type":"function_call_output","call_id":"j","output":"Q"},{"type":"function_call_output","call_id":"i","output":"R"}]}`,
		`u:U | c:[{"name":"f","arguments":{}},{"name":"g","arguments":{}}] | o:[{"name":"g","content":"Q"},{"name":"f","content":"R"}] | a:yes`, "reasoning_with_tool_call text_with_tool_call")
	f(openai.Responses, `{"input":[{"role":"user","content":"U"},{"type":"reasoning","content":[{"type":"reasoning_text","text":"T"}],"summary":[]},{"role":"assistant","content":"A"},{"role":"user","content":"V"}]}`,
		"u:U | a:<think>~T~</think>~~A | u:V | a:yes", "")
	f(openai.Completions, `{"prompt":"P"}`, "u:P | a:yes", "")
}

// TestAnswer holds what becomes of answers: status, folder and the last turn.
func TestAnswer(t *testing.T) {
	type choice = openai.Choice
	f := func(name string, o Options, x Exchange, a openai.Answer, status Status, folder Folder, want, flags string) {
		t.Helper()
		a.Dialect = openai.Chat
		x.ID, x.Request, x.Answer = "x", []byte(`{"messages":[{"role":"user","content":"U"}]}`), &a
		records, l, meta := project(t, o, &x)
		if r := records[0]; r.Status != status || r.Folder != folder {
			t.Errorf("%s: got %s, %s; want %s, %s", name, r.Status, r.Folder, status, folder)
		}
		if got := strings.TrimPrefix(turns(l), "u:U | "); got != want {
			t.Errorf("%s: got turn %q, want %q", name, got, want)
		}
		if got := strings.Trim(fmt.Sprint(meta["flags"]), "[]"); meta != nil && got != flags {
			t.Errorf("%s: got flags %q, want %q", name, got, flags)
		}
	}
	one := func(c choice) openai.Answer { return openai.Answer{Choices: []choice{c}} }
	with := func(a openai.Answer, change func(*openai.Answer)) openai.Answer { change(&a); return a }
	call := func(arguments string) []openai.Call { return []openai.Call{{ID: "i", Name: "f", Arguments: arguments}} }
	failed := func(a *openai.Answer) { a.Err = &openai.Failure{Message: "broke"} }
	var o Options
	var x Exchange
	f("ok", o, x, one(choice{Content: "A", Finish: "stop"}), OK, Main, "a:A", "")
	f("no finish, done", o, x, with(one(choice{Content: "A"}), func(a *openai.Answer) { a.Done = true }), OK, Main, "a:A", "")
	f("call", o, x, one(choice{Calls: call("{}"), Finish: "tool_calls"}), OK, Main, `c:{"name":"f","arguments":{}}`, "")
	f("call beside text", o, x, one(choice{Content: "A", Reasoning: "T", Calls: call("{}"), Finish: "stop"}), OK, Main, `c:{"name":"f","arguments":{}}`, "reasoning_with_tool_call text_with_tool_call")
	f("bad arguments", o, x, one(choice{Calls: call(`{"a":`), Finish: "length"}), Length, Incomplete, `c:{"name":"f","arguments":"{\"a\":"}`, "bad_tool_arguments")
	f("nonsense arguments", o, x, one(choice{Calls: call(`a=1`), Finish: "tool_calls"}), OK, Incomplete, `c:{"name":"f","arguments":"a=1"}`, "bad_tool_arguments")
	f("function call", o, x, one(choice{FunctionCall: &openai.Call{Name: "f", Arguments: "{}"}, Finish: "function_call"}), OK, Main, `c:{"name":"f","arguments":{}}`, "")
	f("refusal", o, x, one(choice{Refusal: "no", Finish: "stop"}), OK, Main, "a:no", "refusal")
	f("reasoning", o, x, one(choice{Content: "A", Reasoning: "T", Finish: "stop"}), OK, Main, "a:<think>~T~</think>~~A", "")
	f("length", o, x, one(choice{Content: "A", Finish: "length"}), Length, Main, "a:A", "")
	f("length, complete only", Options{CompleteOnly: true}, x, one(choice{Content: "A", Finish: "length"}), Length, Incomplete, "a:A", "")
	f("length in reasoning", o, x, one(choice{Reasoning: "T", Finish: "length"}), Length, Incomplete, "a:<think>~T~</think>~~", "")
	f("filtered", o, x, one(choice{Content: "A", Finish: "content_filter"}), ContentFilter, Incomplete, "a:A", "")
	f("filtered, empty", o, x, one(choice{Finish: "content_filter"}), ContentFilter, None, "", "")
	f("empty", o, x, one(choice{Finish: "stop"}), Empty, None, "", "")
	f("error", o, x, with(one(choice{Content: "A", Finish: "stop"}), failed), Failed, Incomplete, "a:A", "")
	f("error, empty", o, x, with(one(choice{}), failed), Failed, None, "", "")
	f("error that is a finish", o, x, one(choice{Content: "A", Finish: "error"}), Failed, Incomplete, "a:A", "")
	f("truncated", o, x, one(choice{Content: "A"}), Truncated, Incomplete, "a:A", "")
	f("aborted", o, x, one(choice{Content: "A", Finish: "abort"}), Truncated, Incomplete, "a:A", "")
	f("truncated, told by the gateway", o, Exchange{Outcome: "truncated"}, with(one(choice{Content: "A"}), failed), Truncated, Incomplete, "a:A", "")
	f("client gone", o, Exchange{ClientGone: true}, one(choice{Content: "A"}), ClientDisconnect, Incomplete, "a:A", "")
	f("client gone behind the end", o, Exchange{ClientGone: true}, one(choice{Content: "A", Finish: "stop"}), OK, Main, "a:A", "")
	f("HTTP error", o, Exchange{HTTP: 500}, one(choice{Content: "A", Finish: "stop"}), Failed, None, "", "")
	f("too large", o, x, with(one(choice{Content: "A", Finish: "stop"}), func(a *openai.Answer) { a.TooLarge = true }), Unreadable, None, "", "")
	f("not wanted", Options{Endpoints: []string{"messages"}}, x, one(choice{Content: "A", Finish: "stop"}), OK, None, "", "")
}
