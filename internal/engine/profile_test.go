package engine

import (
	"context"
	"errors"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// recorded is a server whose answers are known. What is not there is 404.
type recorded struct {
	answers map[string]Answer
	asked   []string
	last    []byte // is of no use after the next question
}

func (r *recorded) get(_ context.Context, path string) (Answer, error) {
	r.asked = append(r.asked, path)
	a, ok := r.answers[path]
	if !ok {
		return Answer{Status: http.StatusNotFound, Body: []byte(`{"detail":"Not Found"}`)}, nil
	}
	if a.Status == 0 {
		return Answer{}, errSilent
	}
	for n := range r.last {
		r.last[n] = 'x'
	}
	r.last = slices.Clone(a.Body)
	a.Body = r.last
	return a, nil
}

var errSilent = errors.New("no answer")

func text(status int, body string) Answer { return Answer{Status: status, Body: []byte(body)} }

// The answers below are in the form of the engines' own, of the versions that are named, as far as it
// matters; of their metrics there are a few.
var (
	vllmModels = text(200, `{"object":"list","data":[{"id":"Qwen/Qwen3-32B","object":"model","created":1764400000,"owned_by":"vllm","root":"Qwen/Qwen3-32B","parent":null,"max_model_len":40960,"permission":[{"id":"modelperm-1","object":"model_permission","allow_sampling":true}]},{"id":"sql-lora","object":"model","created":1764400000,"owned_by":"vllm","root":"/loras/sql","parent":"Qwen/Qwen3-32B","max_model_len":null,"permission":[]}]}`)

	// vLLM 0.11.0, two engines by data parallelism.
	vllm011 = text(200, `# HELP python_gc_objects_collected_total Objects collected during gc
# TYPE python_gc_objects_collected_total counter
python_gc_objects_collected_total{generation="0"} 16012.0
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="Qwen/Qwen3-32B"} 12.0
vllm:num_requests_running{engine="1",model_name="Qwen/Qwen3-32B"} 8.0
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="Qwen/Qwen3-32B"} 3.0
vllm:num_requests_waiting{engine="1",model_name="Qwen/Qwen3-32B"} 0.0
# TYPE vllm:engine_sleep_state gauge
vllm:engine_sleep_state{engine="0",model_name="Qwen/Qwen3-32B",sleep_state="awake"} 1.0
vllm:engine_sleep_state{engine="0",model_name="Qwen/Qwen3-32B",sleep_state="weights_offloaded"} 0.0
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{engine="0",model_name="Qwen/Qwen3-32B"} 0.5
vllm:kv_cache_usage_perc{engine="1",model_name="Qwen/Qwen3-32B"} 0.25
# TYPE vllm:prefix_cache_queries_total counter
vllm:prefix_cache_queries_total{engine="0",model_name="Qwen/Qwen3-32B"} 1.2e+06
# TYPE vllm:prefix_cache_queries_created gauge
vllm:prefix_cache_queries_created{engine="0",model_name="Qwen/Qwen3-32B"} 1.7644000001e+09
vllm:prefix_cache_hits_total{engine="0",model_name="Qwen/Qwen3-32B"} 900000.0
# TYPE vllm:time_to_first_token_seconds histogram
vllm:time_to_first_token_seconds_bucket{engine="0",le="0.001",model_name="Qwen/Qwen3-32B"} 0.0
vllm:time_to_first_token_seconds_bucket{engine="0",le="+Inf",model_name="Qwen/Qwen3-32B"} 4411.0
vllm:time_to_first_token_seconds_sum{engine="0",model_name="Qwen/Qwen3-32B"} 901.5
`)
	// vLLM 0.6.6.
	vllm066 = text(200, `vllm:num_requests_running{model_name="m"} 4.0
vllm:num_requests_waiting{model_name="m"} 0.0
vllm:num_requests_swapped{model_name="m"} 1.0
vllm:gpu_cache_usage_perc{model_name="m"} 0.9834
vllm:cpu_cache_usage_perc{model_name="m"} 0.0
vllm:gpu_prefix_cache_queries_total{model_name="m"} 100.0
vllm:gpu_prefix_cache_hits_total{model_name="m"} 25.0
`)

	// SGLang 0.5.3, with metrics of all schedulers and of priorities.
	sglangMetrics = text(200, `# HELP sglang:num_running_reqs The number of running requests.
# TYPE sglang:num_running_reqs gauge
sglang:num_running_reqs{engine_type="unified",model_name="meta-llama/Llama-3.1-8B-Instruct",pp_rank="0",tp_rank="0"} 162.0
sglang:num_running_reqs{engine_type="unified",model_name="meta-llama/Llama-3.1-8B-Instruct",pp_rank="0",tp_rank="1"} 162.0
sglang:num_running_reqs{engine_type="unified",model_name="meta-llama/Llama-3.1-8B-Instruct",pp_rank="0",priority="5",tp_rank="0"} 100.0
# TYPE sglang:token_usage gauge
sglang:token_usage{engine_type="unified",model_name="meta-llama/Llama-3.1-8B-Instruct",pp_rank="0",tp_rank="0"} 0.28
sglang:num_queue_reqs{engine_type="unified",model_name="meta-llama/Llama-3.1-8B-Instruct",pp_rank="0",priority="",tp_rank="0"} 2826.0
sglang:gen_throughput{model_name="meta-llama/Llama-3.1-8B-Instruct"} 86.5
`)
	sglangModels = text(200, `{"object":"list","data":[{"id":"meta-llama/Llama-3.1-8B-Instruct","object":"model","created":1764400000,"owned_by":"sglang","root":"meta-llama/Llama-3.1-8B-Instruct","parent":null,"max_model_len":131072}]}`)
	// SGLang 0.4.1.
	sglangOldModels = text(200, `{"object":"list","data":[{"id":"old","object":"model","created":1733000000,"owned_by":"sglang","root":"old"}]}`)
	sglangServer    = text(200, `{"model_path":"old","context_length":8192,"api_key":"sk-secret","tp_size":1,"max_total_num_tokens":430000,"max_req_input_len":8186,"version":"0.4.1.post3"}`)

	// llama.cpp b7000.
	llamaModels  = text(200, `{"models":[{"name":"qwen.gguf","type":"model"}],"object":"list","data":[{"id":"qwen.gguf","object":"model","created":1764400000,"owned_by":"llamacpp","meta":{"vocab_type":2,"n_vocab":151936,"n_ctx_train":40960,"n_embd":2048,"size":1834426016}}]}`)
	llamaProps   = text(200, `{"default_generation_settings":{"id":0,"id_task":-1,"n_ctx":4096,"speculative":false,"is_processing":false,"params":{"n_predict":-1}},"total_slots":4,"model_path":"/models/qwen.gguf","modalities":{"vision":false},"build_info":"b7000-3bc8d2c"}`)
	llamaSlots   = text(200, `[{"id":0,"id_task":135,"n_ctx":4096,"speculative":false,"is_processing":true},{"id":1,"id_task":7,"n_ctx":4096,"is_processing":false},{"id":2,"n_ctx":4096,"is_processing":true},{"id":3,"n_ctx":4096,"is_processing":false}]`)
	llamaMetrics = text(200, `# HELP llamacpp:prompt_tokens_total Number of prompt tokens processed.
# TYPE llamacpp:prompt_tokens_total counter
llamacpp:prompt_tokens_total 1221
# HELP llamacpp:requests_processing Number of requests processing.
# TYPE llamacpp:requests_processing gauge
llamacpp:requests_processing 4
llamacpp:requests_deferred 46
llamacpp:n_busy_slots_per_decode 3.87
`)
	llamaLoading = text(503, `{"error":{"message":"Loading model","type":"unavailable_error","code":503}}`)
	llamaOff     = text(501, `{"error":{"code":501,"message":"This server does not support metrics endpoint. Start it with `+"`--metrics`"+`","type":"not_supported_error"}}`)

	// Ollama 0.12.6.
	ollamaModels  = text(200, `{"object":"list","data":[{"id":"qwen3:8b","object":"model","created":1764400000,"owned_by":"library"},{"id":"nomic-embed-text:latest","object":"model","created":1764400000,"owned_by":"library"}]}`)
	ollamaTags    = text(200, `{"models":[{"name":"qwen3:8b","model":"qwen3:8b","size":5225376047,"details":{"format":"gguf","family":"qwen3"}}]}`)
	ollamaPS      = text(200, `{"models":[{"name":"qwen3:8b","model":"qwen3:8b","size":6000000000,"expires_at":"2025-11-29T07:00:00Z","size_vram":6000000000,"context_length":4096}]}`)
	ollamaVersion = text(200, `{"version":"0.12.6"}`)

	// TGI 3.3.4.
	tgiInfo    = text(200, `{"model_id":"HuggingFaceTB/SmolLM2","model_sha":null,"model_pipeline_tag":"text-generation","max_concurrent_requests":128,"max_best_of":2,"max_stop_sequences":4,"max_input_tokens":4095,"max_total_tokens":4096,"validation_workers":2,"max_client_batch_size":4,"router":"text-generation-router","version":"3.3.4","sha":"abc","docker_label":"sha-abc"}`)
	tgiModels  = text(200, `{"object":"list","data":[{"id":"HuggingFaceTB/SmolLM2","object":"model","created":0,"owned_by":"HuggingFaceTB/SmolLM2"}]}`)
	tgiMetrics = text(200, `# TYPE tgi_batch_current_size gauge
tgi_batch_current_size 4
# TYPE tgi_queue_size gauge
tgi_queue_size 7
# TYPE tgi_request_generated_tokens histogram
tgi_request_generated_tokens_bucket{le="1"} 0
tgi_request_generated_tokens_sum 8123
`)

	webPage = Answer{Status: 200, Body: []byte("<!DOCTYPE html>\n<html><body>vllm:num_requests_running 5\n</body></html>\n")}
)

// none is a gauge that is not told.
var none = math.NaN()

// TestProfiles guards how each engine is known, and how its answers are read.
func TestProfiles(t *testing.T) {
	for _, c := range []struct {
		name    string
		given   Name
		answers map[string]Answer
		facts   Facts
		err     error
		state   State
		gauges  Gauges // Running, Waiting, KV, Queries, Hits
	}{
		{
			"vLLM", "",
			map[string]Answer{
				"/v1/models": vllmModels, "/version": text(200, `{"version":"0.11.0"}`), "/metrics": vllm011, "/is_sleeping": text(200, `{"is_sleeping":false}`),
			},
			Facts{VLLM, "0.11.0", []Model{{"Qwen/Qwen3-32B", 40960}, {"sql-lora", 0}}},
			nil, Ready,
			Gauges{20, 3, 0.375, 1.2e6, 9e5},
		},
		{
			"vLLM of old", "",
			map[string]Answer{"/v1/models": vllmModels, "/metrics": vllm066},
			Facts{VLLM, "", []Model{{"Qwen/Qwen3-32B", 40960}, {"sql-lora", 0}}},
			nil, Unknown,
			Gauges{4, 0, 0.9834, 100, 25},
		},
		{
			"vLLM asleep", VLLM,
			map[string]Answer{"/v1/models": vllmModels, "/metrics": vllm066, "/is_sleeping": text(200, `{"is_sleeping":true}`)},
			Facts{VLLM, "", []Model{{"Qwen/Qwen3-32B", 40960}, {"sql-lora", 0}}},
			nil, Sleeping,
			Gauges{4, 0, 0.9834, 100, 25},
		},
		{
			"vLLM asleep by its metrics", VLLM,
			map[string]Answer{"/v1/models": vllmModels, "/metrics": text(200,
				"vllm:engine_sleep_state{engine=\"0\",sleep_state=\"awake\"} 0.0\nvllm:engine_sleep_state{engine=\"0\",sleep_state=\"discard_all\"} 1.0\n")},
			Facts{VLLM, "", []Model{{"Qwen/Qwen3-32B", 40960}, {"sql-lora", 0}}},
			nil, Sleeping,
			Gauges{none, none, none, none, none},
		},
		{
			"vLLM that wants a key", "",
			map[string]Answer{"/v1/models": text(401, `{"error":"Unauthorized"}`), "/version": text(200, `{"version":"0.11.0"}`), "/metrics": vllm066},
			Facts{VLLM, "", nil},
			ErrUntold, Unknown,
			Gauges{4, 0, 0.9834, 100, 25},
		},
		{
			"SGLang", "",
			map[string]Answer{"/v1/models": sglangModels, "/metrics": sglangMetrics, "/get_server_info": text(200, `{"version":"0.5.3"}`)},
			Facts{SGLang, "0.5.3", []Model{{"meta-llama/Llama-3.1-8B-Instruct", 131072}}},
			nil, Unknown,
			Gauges{162, 2826, 0.28, none, none},
		},
		{
			"SGLang of old, without metrics", "",
			map[string]Answer{"/v1/models": sglangOldModels, "/get_server_info": sglangServer},
			Facts{SGLang, "0.4.1.post3", []Model{{"old", 8192}}},
			nil, Unknown, noGauges,
		},
		{
			"SGLang without a list", "",
			map[string]Answer{"/get_model_info": text(200, `{"model_path":"old","tokenizer_path":"old","is_generation":true}`)},
			Facts{SGLang, "", nil},
			ErrUntold, Unknown, noGauges,
		},
		{
			"llama.cpp", "",
			map[string]Answer{"/v1/models": llamaModels, "/props": llamaProps, "/metrics": llamaMetrics, "/health": text(200, `{"status":"ok"}`)},
			Facts{LlamaCpp, "b7000-3bc8d2c", []Model{{"qwen.gguf", 4096}}},
			nil, Ready,
			Gauges{4, 46, none, none, none},
		},
		{
			"llama.cpp without metrics", "",
			map[string]Answer{"/v1/models": llamaModels, "/props": llamaProps, "/metrics": llamaOff, "/slots": llamaSlots},
			Facts{LlamaCpp, "b7000-3bc8d2c", []Model{{"qwen.gguf", 4096}}},
			nil, Unknown,
			Gauges{2, none, none, none, none},
		},
		{
			"llama.cpp of old", LlamaCpp,
			map[string]Answer{"/v1/models": llamaModels, "/slots": text(200, `[{"id":0,"state":1},{"id":1,"state":0}]`)},
			Facts{LlamaCpp, "", []Model{{"qwen.gguf", 0}}},
			nil, Unknown,
			Gauges{1, none, none, none, none},
		},
		{
			"llama.cpp that loads", "",
			map[string]Answer{
				"/v1/models": {503, "llama.cpp", llamaLoading.Body}, "/props": llamaLoading, "/metrics": llamaLoading, "/health": llamaLoading, "/slots": llamaLoading,
			},
			Facts{LlamaCpp, "", nil},
			ErrUntold, Loading, noGauges,
		},
		{
			"Ollama", "",
			map[string]Answer{"/v1/models": ollamaModels, "/api/version": ollamaVersion, "/api/ps": ollamaPS},
			Facts{Ollama, "0.12.6", []Model{{"qwen3:8b", 4096}, {"nomic-embed-text:latest", 0}}},
			nil, Unknown, noGauges,
		},
		{
			"Ollama of old", "",
			map[string]Answer{"/api/tags": ollamaTags, "/api/version": ollamaVersion, "/api/ps": text(200, `{"models":[]}`)},
			Facts{Ollama, "0.12.6", []Model{{"qwen3:8b", 0}}},
			nil, Unknown, noGauges,
		},
		{
			"TGI", "",
			map[string]Answer{"/v1/models": tgiModels, "/info": tgiInfo, "/metrics": tgiMetrics},
			Facts{TGI, "3.3.4", []Model{{"HuggingFaceTB/SmolLM2", 4096}}},
			nil, Unknown,
			Gauges{4, 7, none, none, none},
		},
		{
			"TGI without a list", "",
			map[string]Answer{"/info": tgiInfo},
			Facts{TGI, "3.3.4", []Model{{"HuggingFaceTB/SmolLM2", 4096}}},
			nil, Unknown, noGauges,
		},
		{
			"another server", "",
			map[string]Answer{
				"/v1/models": text(200, `{"data":[{"id":"a","owned_by":"openai","context_length":1000},{"id":"b","context_window":2000.0},{"id":"c","max_model_len":"3000"},{"id":"","x":1},{"id":"d\n"}]}`),
				"/version":   text(200, `{"version":"1"}`), "/metrics": vllm066,
			},
			Facts{Generic, "", []Model{{"a", 1000}, {"b", 2000}, {"c", 0}}},
			nil, Unknown, noGauges,
		},
		{"nothing", "", nil, Facts{Generic, "", nil}, ErrUntold, Unknown, noGauges},
		{
			"in trouble", "",
			map[string]Answer{"/v1/models": text(502, "bad gateway"), "/props": text(502, ""), "/version": text(502, "")},
			Facts{},
			ErrUntold, Unknown, noGauges,
		},
		{
			"web pages", VLLM,
			map[string]Answer{"/v1/models": webPage, "/version": webPage, "/metrics": text(200, "<html>\n"), "/is_sleeping": webPage},
			Facts{VLLM, "", nil},
			ErrUntold, Unknown,
			Gauges{none, none, none, none, none},
		},
		{
			"cut answers", VLLM,
			map[string]Answer{
				"/v1/models": text(200, string(vllmModels.Body[:100])), "/metrics": text(200, "vllm:num_requests_running{a=\"b\"} 1.0\nvllm:num_requests_waiting{a=\"b\"} 12"),
				"/is_sleeping": text(200, `{"is_sleeping":tr`),
			},
			Facts{VLLM, "", nil},
			ErrUntold, Unknown,
			Gauges{1, none, none, none, none},
		},
		{
			"lies", VLLM,
			map[string]Answer{"/v1/models": text(200, `{"data":[{"id":"m","max_model_len":-5},{"id":"n","max_model_len":1e300},{"id":"o","max_model_len":[]}]}`), "/metrics": text(200, `vllm:num_requests_running{a="}"} NaN
vllm:num_requests_waiting{a="0"} -3
vllm:num_requests_waiting{a="1"} 2
vllm:num_requests_waiting{a="2"} 1e9
vllm:kv_cache_usage_perc{a="\"} 7"} +Inf
vllm:kv_cache_usage_perc{a="x"} 0.25 1764400000000
vllm:prefix_cache_hits_total{a="x"} twelve
vllm:prefix_cache_queries_total
`)},
			Facts{VLLM, "", []Model{{"m", 0}, {"n", 0}, {"o", 0}}},
			nil, Unknown,
			Gauges{none, 2, 0.25, none, none},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := &recorded{answers: c.answers}
			s := NewServer(c.given, server.get)
			facts, err := s.Survey(t.Context())
			if !errors.Is(err, c.err) || facts.Engine != c.facts.Engine || facts.Version != c.facts.Version || !slices.Equal(facts.Models, c.facts.Models) {
				t.Errorf("got %+v and error %v, want %+v and %v", facts, err, c.facts, c.err)
			}
			look, err := s.Look(t.Context(), true)
			if err != nil || look.State != c.state || !same(look.Gauges, c.gauges) {
				t.Errorf("got %v, %+v and error %v, want %v and %+v", look.State, look.Gauges, err, c.state, c.gauges)
			}
			asks := slices.ContainsFunc([]string{"/metrics", "/slots", "/is_sleeping", "/health"}, func(path string) bool { return !s.absent[path] && slices.Contains(server.asked, path) })
			if s.Silent(true) == asks {
				t.Errorf("silent is %v after %v, of which are absent %v", s.Silent(true), server.asked, s.absent)
			}
			for _, path := range []string{"/health_generate", "/generate", "/v1/chat/completions"} {
				if slices.Contains(server.asked, path) {
					t.Errorf("%s was asked for", path)
				}
			}
			if facts.Engine != LlamaCpp && slices.Contains(server.asked, "/health") {
				t.Error("/health was asked for, at which some engines compute")
			}
		})
	}
}

func same(a, b Gauges) bool {
	equal := func(a, b float64) bool { return a == b || math.IsNaN(a) && math.IsNaN(b) }
	return equal(a.Running, b.Running) && equal(a.Waiting, b.Waiting) && equal(a.KV, b.KV) && equal(a.Queries, b.Queries) && equal(a.Hits, b.Hits)
}

// TestSilence guards that a server which does not answer is asked no further, and that what
// it told before stays known.
func TestSilence(t *testing.T) {
	answers := map[string]Answer{"/v1/models": vllmModels, "/metrics": vllm011, "/is_sleeping": text(200, `{"is_sleeping":true}`)}
	server := &recorded{answers: answers}
	s := NewServer("", server.get)
	before, err := s.Survey(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/v1/models", "/version"} {
		kept := answers[path]
		answers[path] = Answer{}
		server.asked = nil
		after, err := s.Survey(t.Context())
		if !errors.Is(err, errSilent) || server.asked[len(server.asked)-1] != path || !slices.Equal(after.Models, before.Models) {
			t.Errorf("%s: got %+v, error %v after %v", path, after, err, server.asked)
		}
		answers[path] = kept
	}
	delete(answers, "/version")
	answers["/v1/models"] = text(500, "")
	if after, err := s.Survey(t.Context()); !errors.Is(err, ErrUntold) || !slices.Equal(after.Models, before.Models) || after.Engine != VLLM {
		t.Errorf("trouble: got %+v and error %v, want what was known", after, err)
	}
	answers["/is_sleeping"] = Answer{}
	if look, err := s.Look(t.Context(), true); !errors.Is(err, errSilent) || look.State != Ready || look.Gauges.Running != 20 {
		t.Errorf("got %+v and error %v, want what came before the silence", look, err)
	}
	answers["/metrics"] = Answer{}
	server.asked = nil
	if look, err := s.Look(t.Context(), true); !errors.Is(err, errSilent) || look.State != Unknown || len(server.asked) != 1 {
		t.Errorf("got %+v and error %v after %v", look, err, server.asked)
	}
}

// TestAbsent guards that what a server does not have is not asked for before the next survey.
func TestAbsent(t *testing.T) {
	server := &recorded{answers: map[string]Answer{"/v1/models": vllmModels, "/metrics": text(403, "")}}
	s := NewServer(VLLM, server.get)
	for range 2 {
		server.asked = nil
		if _, err := s.Survey(t.Context()); err != nil || s.Silent(true) || s.Silent(false) {
			t.Fatalf("error %v, silent %v and %v, want all to be asked for anew", err, s.Silent(true), s.Silent(false))
		}
		for range 3 {
			if _, err := s.Look(t.Context(), true); err != nil {
				t.Fatal(err)
			}
		}
		if got := strings.Join(server.asked, " "); got != "/v1/models /version /metrics /is_sleeping" || !s.Silent(true) {
			t.Errorf("got %s, silent %v, want each once", got, s.Silent(true))
		}
	}
}

// FuzzAnswers guards that no answer does more than tell nothing: no gauge is negative or
// absurd, whatever the bytes.
func FuzzAnswers(f *testing.F) {
	for _, a := range []Answer{vllmModels, vllm011, vllm066, sglangMetrics, sglangServer, llamaProps, llamaSlots, llamaMetrics, ollamaPS, ollamaTags, tgiInfo, tgiMetrics, webPage} {
		f.Add(a.Status, a.Body)
	}
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		for _, name := range append(Names(), "") {
			s := NewServer(Name(name), func(context.Context, string) (Answer, error) { return Answer{Status: status, Body: body}, nil })
			facts, _ := s.Survey(t.Context())
			for _, m := range facts.Models {
				if m.ID == "" || len(m.ID) > maxID || m.Context < 0 || m.Context > maxContext {
					t.Fatalf("got model %+v", m)
				}
			}
			look, err := s.Look(t.Context(), true)
			if err != nil || len(facts.Version) > 100 {
				t.Fatalf("error %v, version %q", err, facts.Version)
			}
			for _, value := range []float64{look.Gauges.Running, look.Gauges.Waiting, look.Gauges.KV, look.Gauges.Hits} {
				if value < 0 || math.IsInf(value, 0) {
					t.Fatalf("got %+v", look.Gauges)
				}
			}
		}
	})
}
