package page

import (
	"compress/gzip"
	"net/http"
	"strings"
	"time"
)

// Recordings are a part of the records, newest first:
//
//	{"exchanges":[…],"before":"20260314_15,main.jsonl@8123","bound":"time","reached":"20260314_15"}
type Recordings struct {
	Exchanges []Exchange `json:"exchanges"`
	// Before is where older ones begin; empty if there are none.
	Before string `json:"before,omitempty"`
	// Bound is what has ended the search before it had as many as were wanted: "time" or
	// "bytes"; empty if nothing has. Reached is then the hour in which it stopped, as in
	// the names of files. What is older has not been looked at.
	Bound   string `json:"bound,omitempty"`
	Reached string `json:"reached,omitempty"`
	// Skipped counts what has been passed over.
	Skipped Skipped `json:"skipped"`
}

// Skipped counts what a search cannot read.
type Skipped struct {
	NoRecords int      `json:"no_records"`      // lines that are no records
	Long      int      `json:"long"`            // lines of more than 32 MiB
	Files     []string `json:"files,omitempty"` // files that cannot be read, or are more than one search may read
}

// Any reports whether something has been passed over.
func (s *Skipped) Any() bool { return s.NoRecords+s.Long+len(s.Files) > 0 }

// Exchange is a recorded request with one choice of its answer. Times are
// milliseconds.
type Exchange struct {
	At       string    `json:"at"` // its place in the files
	ID       string    `json:"id"`
	Time     time.Time `json:"time"` // when the answer ended
	Model    string    `json:"model"`
	Instance string    `json:"instance"`
	Status   string    `json:"status"`            // such as "ok" or "truncated", see the texts "recorded.…"
	Outcome  string    `json:"outcome,omitempty"` // how the last attempt ended
	Finish   string    `json:"finish_reason"`
	Endpoint string    `json:"endpoint"` // chat, responses, messages or completions
	Stream   bool      `json:"stream"`
	HTTP     int64     `json:"http"`
	TTFT     int64     `json:"ttft_ms"`
	Latency  int64     `json:"latency_ms"`
	Usage    *Usage    `json:"usage,omitempty"` // nil: not known
	Key      string    `json:"key,omitempty"`   // the label of the client's key
	Tier     string    `json:"tier,omitempty"`
	Attempts int64     `json:"attempts,omitempty"` // 0: not known
	Error    string    `json:"error,omitempty"`    // what the instance said
	Flags    []string  `json:"flags,omitempty"`    // what the conversation has lost
	Turns    int       `json:"turns"`
	Asked    string    `json:"asked"`    // beginning of the last human turn
	Answered string    `json:"answered"` // beginning of the last turn
}

// Usage counts tokens.
type Usage struct {
	Prompt     int64 `json:"prompt"`
	Completion int64 `json:"completion"`
	Total      int64 `json:"total"`
}

// Conversation is an exchange with what was said.
type Conversation struct {
	Exchange
	Earlier  int      `json:"earlier,omitempty"` // turns between the first and the others that are left out
	Said     []Turn   `json:"conversation"`
	Tools    Text     `json:"tools"`    // JSON, "[]" if there are none
	Params   Text     `json:"params"`   // JSON of the request's other members
	Request  Text     `json:"request"`  // JSON of the exact request, or nothing
	Response Text     `json:"response"` // JSON of the exact answer, or nothing
	Media    []string `json:"media,omitempty"`
}

// Turn is one message.
type Turn struct {
	Role      string `json:"role"` // system, human, gpt, function_call or observation
	Reasoning Text   `json:"reasoning,omitzero"`
	Text      Text   `json:"text,omitzero"`
	Calls     []Call `json:"calls,omitempty"`
}

// Call is the use of a tool.
type Call struct {
	Name      string `json:"name"`
	Arguments Text   `json:"arguments"` // JSON
}

// Text is a text, or its beginning.
type Text struct {
	Text string `json:"text"`
	Left int    `json:"left,omitempty"` // bytes that are left out at its end
}

// Size returns the bytes of all of it.
func (t Text) Size() int { return len(t.Text) + t.Left }

// Block is a part of a text: a block of code, or what stands between such.
type Block struct {
	Code bool
	Text string
}

// Blocks splits a text at lines that begin with three backticks, as Markdown fences
// code. A fence that is not closed holds the rest.
func (t Text) Blocks() []Block {
	var blocks []Block
	var part strings.Builder
	code := false
	text := strings.ReplaceAll(t.Text, "\r\n", "\n")
	end := func() {
		if text := strings.Trim(part.String(), "\n"); text != "" {
			blocks = append(blocks, Block{code, text})
		}
		part.Reset()
	}
	for line := range strings.Lines(text) {
		if strings.HasPrefix(strings.TrimLeft(line, " "), "```") {
			end()
			code = !code
			continue
		}
		part.WriteString(line)
	}
	end()
	return blocks
}

// Filter is what a view of the recordings has been asked for.
type Filter struct {
	Model   string
	Outcome string
	Text    string
	Before  string
}

// Empty reports whether all exchanges are wanted.
func (f Filter) Empty() bool { return f.Model == "" && f.Outcome == "" && f.Text == "" }

// RecordsView is a page of the recordings' view. Its links are relative to a path
// "records" beside the status page's folder "ui", or one below "records".
type RecordsView struct {
	Options Options // Language and Keep
	Models  []string
	Filter  Filter
	Below   bool // its path is below "records"

	// One of these is shown.
	Recordings   *Recordings
	Conversation *Conversation
	Problem      string // why nothing can be shown; with Status
	Status       int    // of the answer; 200 if 0
}

// turning leads from a page of the list to another one.
type turning struct {
	Head   any
	Filter Filter
	Text   string // key in the table of texts
}

// turnTo returns what leads from a page of the list, whose data it is given, to the one
// that begins at before, or to the newest.
func turnTo(data map[string]any, before string) turning {
	to := turning{Head: data["Head"], Filter: data["Filter"].(Filter)}
	switch to.Filter.Before = before; {
	case before == "":
		to.Text = "records.newest"
	case data["Recordings"].(*Recordings).Bound == "":
		to.Text = "records.older"
	default:
		to.Text = "records.go_on"
	}
	return to
}

// Outcomes are those that can be asked for, in the order of their choice.
var Outcomes = []string{"ok", "length", "content_filter", "error", "truncated", "client_disconnect"}

// Serve answers with the page.
func (v *RecordsView) Serve(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	protect(h, recordsPolicy)
	h.Set("Cache-Control", "no-store")
	h.Add("Vary", "Accept-Language")
	if v.Options.Language == "" {
		v.Options.Language = English
	}
	l := newChooser(v.Options.Language).choose(r)
	up, name, self := "", "records", []string{"model", v.Filter.Model, "outcome", v.Filter.Outcome}
	if v.Conversation != nil {
		name, self = "turns", []string{"at", v.Conversation.At}
	}
	if v.Below || v.Conversation != nil {
		up = "../"
	}
	query := r.URL.Query()
	keep := append([]string{"lang"}, v.Options.Keep...)
	html, err := execute(l, name, map[string]any{
		"Head": newLayout(l, up+"ui/", query, keep, self...), "Up": up, "View": v, "Filter": v.Filter, "Outcomes": Outcomes,
		"Recordings": v.Recordings, "Conversation": v.Conversation, "Problem": v.Problem,
	})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	h.Set("Content-Type", "text/html; charset=utf-8")
	sendStatus(w, r, max(v.Status, http.StatusOK), []byte(html), func() []byte { return compress([]byte(html), gzip.DefaultCompression) })
}
