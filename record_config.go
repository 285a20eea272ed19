package aigateway

import (
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/hourly"
	"github.com/simpleaigateway/caddy-ai-gateway/internal/openai"
	"github.com/simpleaigateway/caddy-ai-gateway/internal/sharegpt"
)

// RecordConfig says what is recorded of the exchanges, below data_dir.
type RecordConfig struct {
	// Enabled records exchanges in ShareGPT form, one hourly file after the other.
	// The default is true.
	Enabled bool `json:"enabled"`

	// Raw says when a record also holds the exact request and answer: lossy (the
	// default), where the ShareGPT form loses something; always; never.
	Raw string `json:"raw"`

	// CompleteOnly moves answers that end at the client's token limit to
	// requests_responses_incomplete. The default is false.
	CompleteOnly bool `json:"complete_only"`

	// Endpoints are the APIs that are recorded: chat, responses, messages and
	// completions. The default is all but completions.
	Endpoints []string `json:"endpoints"`

	// Sample is the part of the exchanges that is recorded, 0 to 1. The default is 1.
	Sample float64 `json:"sample"`

	// OptOut lets a client keep a request out of the records by the header
	// X-AI-Gateway-Record: off. The default is true.
	OptOut bool `json:"opt_out"`

	// Redact are regular expressions (RE2) whose matches in texts are replaced by
	// [redacted].
	Redact []string `json:"redact"`

	// UTC names files by the hour of UTC instead of the machine's time zone. The
	// default is false.
	UTC bool `json:"utc"`

	// MinFree is how many bytes must be free on the disk for records to be written.
	// The default is 268435456, 256 MiB; 0 sets no limit.
	MinFree int64 `json:"min_free"`

	// MaxAge deletes files older than that, in seconds or as a duration. The default
	// is 0: never.
	MaxAge Seconds `json:"max_age"`

	// MaxSize deletes the oldest files until all have no more bytes than this. The
	// default is 0: never.
	MaxSize int64 `json:"max_size"`

	// Compress packs the files of past hours by gzip or zstd, into a folder beside.
	// The default is none.
	Compress string `json:"compress"`

	// Browse shows the records on Caddy's admin endpoint, at /ai_gateway/records: who may
	// open it may read them all. The default is false.
	Browse bool `json:"browse"`
}

var (
	rawKinds      = []string{"lossy", "always", "never"}
	compressKinds = []string{"none", "gzip", "zstd"}
	recordedAPIs  = []string{"chat", "responses", "messages", "completions"}
)

var defaultRecord = RecordConfig{
	Enabled: true, Raw: "lossy", Endpoints: []string{"chat", "responses", "messages"}, Sample: 1, OptOut: true, MinFree: 256 << 20, Compress: "none",
}

// record checks the group of that name.
func (c *checker) record(r *RecordConfig) {
	at := func(steps ...any) []any { return append([]any{"record"}, steps...) }
	c.oneOf(at("raw"), r.Raw, rawKinds, "")
	c.oneOf(at("compress"), r.Compress, compressKinds, "")
	for n, endpoint := range r.Endpoints {
		c.oneOf(at("endpoints", n), endpoint, recordedAPIs, "")
	}
	if r.Sample < 0 || r.Sample > 1 {
		c.report(at("sample"), "got a number outside of 0 to 1")
	}
	for n, pattern := range r.Redact {
		if _, err := regexp.Compile(pattern); err != nil {
			c.report(at("redact", n), "got a text that is no regular expression of RE2")
		} else if pattern == "" {
			c.report(at("redact", n), "got an empty text, which matches everywhere")
		}
	}
	if r.MinFree < 0 {
		c.report(at("min_free"), "got %d, want 0 or more bytes", r.MinFree)
	}
	if r.MaxSize < 0 {
		c.report(at("max_size"), "got %d, want 0 or more bytes", r.MaxSize)
	}
	if r.MaxAge > 0 && r.MaxAge < Seconds(time.Hour) {
		c.report(at("max_age"), "got less than an hour, want 0 or 1h and more")
	}
}

// recordSettings is a checked RecordConfig, ready for use. It is immutable.
type recordSettings struct {
	options   sharegpt.Options
	endpoints []openai.Dialect
	sample    float64
	optOut    bool
	location  *time.Location
	minFree   int64
	pack      hourly.Compression
	maxAge    time.Duration
	maxSize   int64
}

// newRecordSettings returns nil if nothing is to be recorded.
func newRecordSettings(c *RecordConfig) *recordSettings {
	if !c.Enabled {
		return nil
	}
	s := &recordSettings{
		options: sharegpt.Options{
			InPlace:      true,
			RecordRaw:    sharegpt.RecordRaw(slices.Index(rawKinds, c.Raw)),
			CompleteOnly: c.CompleteOnly, Endpoints: c.Endpoints,
		},
		sample: c.Sample, optOut: c.OptOut, location: time.Local, minFree: c.MinFree, maxAge: time.Duration(c.MaxAge), maxSize: c.MaxSize,
		pack: map[string]hourly.Compression{"none": hourly.None, "gzip": hourly.Gzip, "zstd": hourly.Zstd}[c.Compress],
	}
	if c.UTC {
		s.location = time.UTC
	}
	for _, pattern := range c.Redact {
		s.options.Redact = append(s.options.Redact, regexp.MustCompile(pattern)) // checked
	}
	for _, d := range []openai.Dialect{openai.Chat, openai.Responses, openai.Messages, openai.Completions} {
		if slices.Contains(c.Endpoints, sharegpt.EndpointOf(d)) {
			s.endpoints = append(s.endpoints, d)
		}
	}
	return s
}

// optsOut reports whether a client's header keeps its request out of the records.
func optsOut(value string) bool { return strings.EqualFold(strings.TrimSpace(value), "off") }
