package page

import "time"

// Status is what the page shows: the whole gateway at one moment. Its JSON form is
// meant to be served as well, so members keep their names and meanings, and new ones
// may be added. All shares are from 0 to 1, all rates per second over the last
// seconds that the gateway looks at. A Status holds no secret: no key, and of an
// instance's URL the host, port and path only.
//
// The page keeps the Status it was given and compares it with the next: it must not
// be changed any more, nor anything it points to.
type Status struct {
	Version    string      `json:"version"` // of the gateway
	Started    time.Time   `json:"started"` // when the process began
	Now        time.Time   `json:"now"`     // when the Status was taken
	Config     Config      `json:"config"`
	Totals     Totals      `json:"totals"`
	Models     []Model     `json:"models"` // in the order of the file
	Events     []Event     `json:"events"` // newest first; the page shows the first 100
	Alerts     []Alert     `json:"alerts"` // those in force, gravest first
	Recorder   Recorder    `json:"recorder"`
	Names      []Name      `json:"names,omitempty"`      // that are looked up in the DNS, sorted
	Discovered []Discovery `json:"discovered,omitempty"` // servers that are asked for their models
}

// Discovery is a server that is asked for its models, all of which are served.
type Discovery struct {
	Name     string   `json:"name"`
	Address  string   `json:"address"`
	Tier     string   `json:"tier"`
	Answered bool     `json:"answered"`       // it has told of its models
	Models   []string `json:"models"`         // that it told last, sorted
	More     int      `json:"more,omitempty"` // models that are not served, for there are too many
}

// Name is one that instances are found by in the DNS.
type Name struct {
	Name      string    `json:"name"`
	Type      string    `json:"type"`               // of the records: "a", "aaaa" or "srv"
	Addresses int       `json:"addresses"`          // that are in use
	More      int       `json:"more,omitempty"`     // that are not, for there are too many
	Answered  time.Time `json:"answered,omitzero"`  // when they were looked up last with success
	Failures  int       `json:"failures,omitempty"` // lookups in a row that failed
	Error     string    `json:"error,omitempty"`    // why the last lookup brought no address
}

// Config tells of the watched file.
type Config struct {
	Path     string    `json:"path"`
	Loaded   time.Time `json:"loaded"`          // when the settings in force were read
	Valid    bool      `json:"valid"`           // whether the file as it stands is in force
	Error    string    `json:"error,omitempty"` // why it is not: "12:7: instances[2]: …", line and column first, no value of the file
	Strategy string    `json:"strategy"`        // of balancing
}

// Totals are those of all requests, also of the ones that no instance got.
type Totals struct {
	InFlight          int64   `json:"in_flight"`
	RequestsPerSecond float64 `json:"requests_per_second"`
	TokensPerSecond   float64 `json:"tokens_per_second"` // written to clients
	ErrorShare        float64 `json:"error_share"`       // requests that ended in an error of the gateway's or an instance's
}

// Model is a name that clients ask for, and who serves it.
type Model struct {
	Name  string     `json:"name"`
	State ModelState `json:"state"`
	// Waiting is the number of requests that wait because all instances are full.
	Waiting int64  `json:"waiting"`
	Tiers   []Tier `json:"tiers"` // primary first
}

// ModelState says who answers for a model.
type ModelState string

// The states of a model.
const (
	ModelServing    ModelState = "serving"     // an instance of the primary tier
	ModelOnFallback ModelState = "on_fallback" // the fallback tier alone
	ModelEmpty      ModelState = "empty"       // nobody, or those that are ejected, for want of others
)

// Tier is a part of a model's pool.
type Tier struct {
	Tier      string     `json:"tier"` // "primary" or "fallback"
	Instances []Instance `json:"instances"`
}

// Fallback is the name of the tier that serves when the primary one cannot.
const Fallback = "fallback"

// Instance is one configured endpoint for one model.
type Instance struct {
	ID                string        `json:"id"` // not twice under one model
	Name              string        `json:"name"`
	Address           string        `json:"address"` // host:port and path, without scheme, user or query
	Weight            int           `json:"weight"`
	Discovered        bool          `json:"discovered,omitempty"`     // the server has told of the model, not the file
	UpstreamModel     string        `json:"upstream_model,omitempty"` // what it calls the model, if not the same
	Engine            string        `json:"engine,omitempty"`
	EngineDetected    bool          `json:"engine_detected,omitempty"` // the file does not say which it is
	EngineVersion     string        `json:"engine_version,omitempty"`
	Context           int           `json:"context,omitempty"`     // tokens; 0: not known
	EngineLoad        *EngineLoad   `json:"engine_load,omitempty"` // as it last told; nil: it does not
	State             InstanceState `json:"state"`
	By                string        `json:"by,omitempty"`           // who lets it drain, or took it out: "file", "api" or "both"
	Reason            string        `json:"reason,omitempty"`       // of the state, in a word such as "connect"
	WaitSeconds       float64       `json:"wait_seconds,omitempty"` // until the state may end by itself
	InFlight          int64         `json:"in_flight"`
	MaxConcurrency    int           `json:"max_concurrency,omitempty"` // 0: no bound
	RequestsPerSecond float64       `json:"requests_per_second"`
	TokensPerSecond   float64       `json:"tokens_per_second"`
	TTFT              *Percentiles  `json:"ttft_ms,omitempty"` // time to first token; nil: none measured
	ITL               *Percentiles  `json:"itl_ms,omitempty"`  // gap between tokens; nil: none measured
	ErrorShare        float64       `json:"error_share"`
	LastError         *LastError    `json:"last_error,omitempty"`
	Spark             *Spark        `json:"spark,omitempty"`
}

// EngineLoad is what a server says of how much it has to do. What it does not tell is nil.
type EngineLoad struct {
	Running    *float64 `json:"running,omitempty"`      // requests that are computed
	Waiting    *float64 `json:"waiting,omitempty"`      // requests that wait inside of the server
	KV         *float64 `json:"kv_cache,omitempty"`     // used share, 0 to 1
	PrefixHits *float64 `json:"prefix_cache,omitempty"` // share of all prompts' tokens that were cached, 0 to 1
	Age        float64  `json:"age_seconds"`            // since it told
}

// InstanceState is where an instance stands between serving and being left out.
type InstanceState string

// The states of an instance.
const (
	Serving  InstanceState = "serving"
	Ejected  InstanceState = "ejected"   // left out until a trial is due, for its failures
	HalfOpen InstanceState = "half_open" // one trial request is under way
	Ramping  InstanceState = "ramping"   // back, with a share of the requests that grows
	Draining InstanceState = "draining"  // gets no new requests, finishes those it has
	Resting  InstanceState = "resting"   // asked for no requests for a while
	Off      InstanceState = "off"       // weight 0, or switched off by hand
)

// Percentiles are milliseconds.
type Percentiles struct {
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
}

// LastError is the last failure of an instance.
type LastError struct {
	At     time.Time `json:"at"`
	Reason string    `json:"reason"` // a word, such as "first_token"
}

// Spark is the recent past in equal steps, 15 minutes in all, the newest last. All
// of one Status have the same step and end at the same moment.
type Spark struct {
	StepSeconds int     `json:"step_seconds"`
	Requests    []int64 `json:"requests"` // ended in the step
	Errors      []int64 `json:"errors"`   // those of them that failed; as long as Requests
}

// Event is something that happened once.
type Event struct {
	At       time.Time `json:"at"`
	Kind     string    `json:"kind"` // such as "instance_ejected", see the texts "event.…"
	Severity Severity  `json:"severity"`
	Instance string    `json:"instance,omitempty"` // its name
	Model    string    `json:"model,omitempty"`
	Reason   string    `json:"reason,omitempty"` // a word, such as "connect"
	Text     string    `json:"text,omitempty"`   // what kind and reason leave open, in English
}

// Alert is something that people have been told of and that is not over.
type Alert struct {
	Kind     string    `json:"kind"` // such as "instance_ejected", see the texts "event.…"
	Severity Severity  `json:"severity"`
	Since    time.Time `json:"since"`
	Instance string    `json:"instance,omitempty"`
	Model    string    `json:"model,omitempty"`
	Reason   string    `json:"reason,omitempty"`
	Text     string    `json:"text,omitempty"`
}

// Severity says whether somebody should do something.
type Severity string

// The severities.
const (
	Info     Severity = "info"
	Warning  Severity = "warning"  // served, but not as it should be
	Critical Severity = "critical" // requests fail
)

// Recorder tells how the recording of conversations fares.
type Recorder struct {
	Enabled       bool             `json:"enabled"`
	Written       int64            `json:"written"`                   // lines since the process began
	Dropped       map[string]int64 `json:"dropped,omitempty"`         // exchanges and lines that are lost, by reason
	Queued        int              `json:"queued"`                    // exchanges that wait for the disk
	DiskFreeBytes int64            `json:"disk_free_bytes,omitempty"` // 0: not known
}
