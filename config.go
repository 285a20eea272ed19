package aigateway

import (
	"github.com/simpleaigateway/caddy-ai-gateway/internal/alert"
	"github.com/simpleaigateway/caddy-ai-gateway/internal/engine"
	"github.com/simpleaigateway/caddy-ai-gateway/internal/json5"
)

// Config is the content of config.json5: the fleet and how it is run. The file
// may use all of JSON5. In every string {env.NAME} stands for an environment
// variable and {file./path} for a file's text without its last line end;
// relative paths start at the file's own folder.
type Config struct {
	// Instances are the private model servers. At least one instance must stand
	// here or in fallback_instances.
	Instances []*InstanceConfig `json:"instances"`

	// FallbackInstances are asked when no private instance of a model can be.
	FallbackInstances []*InstanceConfig `json:"fallback_instances"`

	// DataDir is the folder that the gateway writes to. The default is ./data.
	DataDir string `json:"data_dir"`

	// LoadBalancingStrategy is how an instance is chosen: round_robin (the default), by
	// weight; least_connections, by requests in flight divided by weight; least_load, by the
	// tokens that an instance has to work through, divided by weight; or prefix_affinity, by
	// what it has of the prompt in its cache, and then by load. Caddy's other selection
	// policies are set by lb_policy in the Caddyfile, which goes before.
	LoadBalancingStrategy string `json:"load_balancing_strategy"`

	// ErrorThreshold is the number of consecutive failures that take an instance
	// out. The default is 10.
	ErrorThreshold int `json:"error_threshold"`

	// ErrorWindow is the time in which failures count together, in seconds or as a
	// duration such as "5m". The default is 300.
	ErrorWindow Seconds `json:"error_window"`

	// AlertCooldown is the silence after an alert about an instance before it is said
	// to fail again, in seconds or as a duration. The default is 300.
	AlertCooldown Seconds `json:"alert_cooldown"`

	// DNS says how names of instances are looked up that have resolve.
	DNS DNSConfig `json:"dns"`

	// Alerts says who is told of what goes wrong. The default is nobody.
	Alerts alert.Config `json:"alerts"`

	// Timeouts are the deadlines of an attempt, for all instances that do not set
	// their own.
	Timeouts TimeoutsConfig `json:"timeouts"`

	// Retries bound what one request may cost the fleet.
	Retries RetriesConfig `json:"retries"`

	// Queue bounds how requests wait while all instances of their model are full.
	Queue QueueConfig `json:"queue"`

	// Poll says how instances are asked about themselves: whether they are ready, for their
	// models and, where load_balancing_strategy makes use of it, how much they have to do.
	Poll PollConfig `json:"poll"`

	// Overflow says what becomes of a prompt that an instance refuses as longer than its
	// context.
	Overflow OverflowConfig `json:"overflow"`

	// Keys are the clients of the gateway. With them, or keys_file, it asks every client
	// for a key; with neither it is open to all.
	Keys []*KeyConfig `json:"keys"`

	// KeysFile is a file with a list of more keys, which is watched too. Relative
	// paths start at this file's folder, as those of placeholders in it.
	KeysFile string `json:"keys_file"`

	// KeyLabel adds metrics by key. The default is false, for there may be many.
	KeyLabel bool `json:"key_label"`

	// Prices are what a million tokens of a model cost, for budgets of money. "*"
	// stands for all others.
	Prices map[string]PriceConfig `json:"prices"`

	// BudgetUTC begins the days and months of budgets at midnight in UTC instead of the
	// machine's time zone. The default is false.
	BudgetUTC bool `json:"budget_utc"`

	// StreamKeepalive is how long a client that waits for a stream to begin hears
	// nothing; then it gets the stream's header and a comment, and another comment
	// each time this has passed. If the request fails after that, the error can only
	// come as an event in the stream. The default is 0: off.
	StreamKeepalive Seconds `json:"stream_keepalive"`

	// Record says what is recorded of the exchanges.
	Record RecordConfig `json:"record"`

	// EngineRoutes are the paths outside of the OpenAI API that are passed on. The
	// default are the scoring routes of vLLM and SGLang: /tokenize, /detokenize,
	// /score, /v1/score, /rerank, /v1/rerank, /v2/rerank, /classify, /pooling. A
	// list given here takes their place.
	EngineRoutes []string `json:"engine_routes"`

	// Schema names the JSON Schema of this file for editors, such as
	// ./config.schema.json. The gateway does not look at it.
	Schema string `json:"$schema"`

	// clientKeys are those of keys and keys_file, nil if there is neither.
	clientKeys []*KeyConfig `json:"-"`
}

// InstanceConfig is one endpoint of instances or fallback_instances.
type InstanceConfig struct {
	// URL is what stands in place of the gateway's own /v1, as an OpenAI client's
	// base URL: http://10.0.0.1:8000/v1. Required.
	URL string `json:"url"`

	// Resolve looks up the host of the URL in the DNS and makes an instance of each server
	// that is found there, as long as it is: by a, its IPv4 addresses; by aaaa, its IPv6
	// addresses; or by srv, its SRV records of the lowest priority, with their ports and
	// weights. Host and TLS name stay those of the URL. Each has the other members as they
	// stand here, and the name NAME@ADDRESS. By default the entry is one instance.
	Resolve string `json:"resolve"`

	// APIKey is sent as Authorization: Bearer. Without one the client's own
	// Authorization goes through.
	APIKey string `json:"api_key"`

	// ModelName is the model that clients ask for, or "*" for all that no other
	// instance names. Required, unless discover is true.
	ModelName string `json:"model_name"`

	// Discover serves every model that the server lists, by the name that it has there,
	// beside the model of model_name, if there is one: 256 at most. The list is asked for as
	// poll says, every 30 seconds; a server that does not answer, or lists nothing, keeps the
	// models that it told last until the gateway ends. A model that the file gives the
	// server, by its own name or as upstream_model, is served as the file says. The default
	// is false.
	Discover bool `json:"discover"`

	// Weight is the share of the requests relative to the other instances of the
	// model, 0 to 1000. 0 gives it none. The default is 1.
	Weight *int `json:"weight"`

	// Drain gives the instance no new requests, in no case, and lets it finish those
	// it has. What is known of it is kept. The default is false.
	Drain bool `json:"drain"`

	// Name is shown in logs, metrics and /health. The default is host, port and
	// path of the URL.
	Name string `json:"name"`

	// UpstreamModel is what the instance calls the model, if not as the clients do.
	UpstreamModel string `json:"upstream_model"`

	// MaxConcurrency is the most requests in flight at once. The default is 0, no
	// limit.
	MaxConcurrency int `json:"max_concurrency"`

	// ContextLength is how many tokens the prompt and the answer may have together, up to
	// 1073741824. A prompt that is surely longer is sent to another instance of the model,
	// if there is one with room. The default is 0: what the instance tells, if it does.
	ContextLength int `json:"context_length"`

	// Headers are set on every request to the instance.
	Headers map[string]string `json:"headers"`

	// Engine is the server program: vllm, sglang, llama.cpp, ollama, tgi or generic. It says
	// what the server can be asked about itself, is shown in /health, and sets the default
	// of ask_usage. By default it is found out from what a server at a private address
	// answers, which does not change ask_usage.
	Engine string `json:"engine"`

	// AskUsage asks the instance for the usage of streams of chat completions and
	// completions, by stream_options.include_usage. Where the client has not asked for
	// it, the chunk with it is taken out of the answer again. It needs a server whose
	// stream is otherwise the same; some write usage into every chunk when asked. The
	// default is true for the engines vllm and sglang, and for chat completions of
	// llama.cpp and ollama; false for all others.
	AskUsage *bool `json:"ask_usage"`

	// Timeouts go before those of the file.
	Timeouts TimeoutsConfig `json:"timeouts"`

	// Paths replaces whole paths: {"/v1/chat/completions": "/custom/chat"} sends the
	// gateway's path on the left to the server's path on the right.
	Paths map[string]string `json:"paths"`

	// Of an instance that an entry with resolve stands for.
	address string `json:"-"` // HOST:PORT to connect to, or "" for that of the URL
	entry   string `json:"-"` // name of the entry, own or default

	discovered bool `json:"-"` // the model is one that the server has told of
}

// TimeoutsConfig is a set of deadlines, in seconds or as durations. 0 is none.
type TimeoutsConfig struct {
	// Connect bounds the opening of a connection. The default is 3.
	Connect *Seconds `json:"connect"`

	// TLS bounds the handshake on it. The default is 5.
	TLS *Seconds `json:"tls"`

	// FirstToken bounds the time until the model begins to answer a request for a
	// stream. It is not applied while no other instance could be asked instead, which is
	// looked at again at least once a second. The default is 300.
	FirstToken *Seconds `json:"first_token"`

	// FirstTokenPerMB is added for each million bytes of the request. The default
	// is 60.
	FirstTokenPerMB *Seconds `json:"first_token_per_mb"`

	// Learn makes first_token longer where an instance needs it: to twice the time that
	// 95 % of its streams began within in the last hour, by the size of their requests,
	// once there are 20 of a size; to three times first_token at most, and never so long
	// that less than a quarter of retries.time or total is left for another instance. It
	// never makes it shorter. The default is true, for a healthy but slow instance is then
	// not taken for a stuck one, and a stuck one is still found out within those bounds.
	Learn *bool `json:"learn"`

	// Stall bounds the silence in the middle of an answer. The default is 120.
	Stall *Seconds `json:"stall"`

	// Total bounds a request as a whole, with all attempts. The default is 1800.
	Total *Seconds `json:"total"`
}

// RetriesConfig bounds the attempts of a request.
type RetriesConfig struct {
	// Attempts is how many instances one request may be sent to, 1 to 100. The
	// default is 3.
	Attempts int `json:"attempts"`

	// Time is how long after its beginning a request may be sent to yet another
	// instance, in seconds or as a duration; 0 sets no limit. The default is 600.
	Time Seconds `json:"time"`

	// Ratio is how many retries a pool may make for each request, in the long run. A
	// reserve of 100, refilled by 10 a second, comes on top. 0 sets no limit. The
	// default is 0.2.
	Ratio float64 `json:"ratio"`

	// MaxBody is the size in bytes over which a request is not sent to a second
	// instance, unless the first could not even be reached; 0 sets no limit. The
	// default is 33554432, 32 MiB.
	MaxBody int64 `json:"max_body"`
}

// QueueConfig bounds how requests wait where max_concurrency leaves them no instance.
type QueueConfig struct {
	// MaxWaiting is how many requests for one model may wait at once, 0 to 100000. A
	// further one is answered 503, unless its client has less waiting than others. 0 lets
	// none wait. The default is 256.
	MaxWaiting int `json:"max_waiting"`

	// MaxWait is how long a request may wait in all, in seconds or as a duration; then it
	// is answered 503. 0 sets no limit but timeouts.total. The default is 30.
	MaxWait Seconds `json:"max_wait"`

	// SpillAfter is how long a wait for a private instance must be, or look like being,
	// for a fallback instance to be asked instead, in seconds or as a duration. More than
	// max_wait is never. The default is 0: at once, so that a request only waits if the
	// fallback instances are full too.
	SpillAfter Seconds `json:"spill_after"`
}

// PollConfig says how instances are asked about themselves, by GET alone and with their
// api_key and headers. Those at public addresses are only if they have an engine.
type PollConfig struct {
	// Interval is the time between two polls of an instance, in seconds or as a duration,
	// 0.5 or more; it varies by a tenth, and is longer in fleets of more than 200. 0 polls
	// none. The default is 2.
	Interval Seconds `json:"interval"`

	// Timeout bounds each question, in seconds or as a duration, 0.1 to 60. One that is not
	// answered in time counts against nobody. The default is 2.
	Timeout Seconds `json:"timeout"`
}

// maxContext bounds context_length in tokens, as what instances tell.
const maxContext = 1 << 30

// maxMaxWaiting bounds max_waiting: each of those who wait keeps its whole request.
const maxMaxWaiting = 100_000

const (
	strategyRoundRobin       = "round_robin"
	strategyLeastConnections = "least_connections"
	strategyLeastLoad        = "least_load"
	strategyPrefixAffinity   = "prefix_affinity"
	maxWeight                = 1000
	maxSecretFile            = 64 << 10
)

var (
	strategies = []string{strategyRoundRobin, strategyLeastConnections, strategyLeastLoad, strategyPrefixAffinity}
	engines    = engine.Names()
)

// Seconds is a time of the file.
type Seconds = json5.Seconds
