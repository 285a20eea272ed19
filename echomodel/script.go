package echomodel

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// Script says how a request is answered: how long, how fast, and with which fault. One comes from the configuration,
// one from POST /echo/control lies over it, and the member "echo" of a request's body lies over both: each takes the
// members it does not name from the one below. Example:
//
//	{"model": "m", "messages": [...], "echo": {"ttft": "50ms", "itl": "20ms", "tokens": 100, "fault": "reset_mid", "after": 3}}
type Script struct {
	// TTFT is the wait before the first token: of a stream after its headers, of a plain answer before them.
	// Default 0. In JSON "50ms" or a number of nanoseconds.
	TTFT caddy.Duration `json:"ttft,omitempty"`

	// ITL is the gap between two tokens. A plain answer waits for all gaps at once. Default 0.
	// The fault slow_drip takes it as the gap between two bytes of the header.
	ITL caddy.Duration `json:"itl,omitempty"`

	// Tokens is the length of the answer "w1 w2 w3 …". With 0, the default, the answer repeats the last user message.
	Tokens int `json:"tokens,omitempty"`

	// Reasoning is the number of reasoning tokens "r1 r2 …" before the answer. Default 0.
	Reasoning int `json:"reasoning,omitempty"`

	// Size pads each generated token to so many bytes, its blank included. Default 0: no padding.
	// The fault big_header takes it as the header's size, early_hints as the number of answers 102 and 103.
	Size int `json:"size,omitempty"`

	// Fault names the fault to act out, one of FaultNames. Default "none".
	Fault string `json:"fault,omitempty"`

	// Path restricts a configured or controlled fault to this path; "*" means every path, also /health and the like,
	// but never /echo/*. Default: all inference routes (chat to realtime, /v1/models not among them).
	Path string `json:"path,omitempty"`

	// After is the number of events of a stream that go out whole before a fault in mid-stream. Default 0: headers only.
	After int `json:"after,omitempty"`

	// Status is the code of the faults status (default 500) and redirect (307), and of the error in error_event (500).
	Status int `json:"status,omitempty"`

	// RetryAfter is the header of the fault status: "2" seconds, "date:2s" that as an HTTP date, "ms:1500" as the
	// header retry-after-ms; anything else goes out as it is. Default: no header.
	RetryAfter string `json:"retry_after,omitempty"`

	// Body is what the fault status answers and error_event sends as data. Default: an error in the dialect's form.
	Body string `json:"body,omitempty"`

	// Location is the target of the fault redirect. Default: a link-local address that must never be asked.
	Location string `json:"location,omitempty"`
}

// Limits keep one request from taking the machine; they lie far above what a test needs.
const (
	maxTokens = 1_000_000
	maxSize   = 64 << 20
)

// set gives the member its value as text. It is the one place that knows the members; the Caddyfile, the control
// endpoint and the requests all come through it.
func (s *Script) set(member, value string) (err error) {
	switch member {
	case "ttft":
		s.TTFT, err = parseDuration(value)
	case "itl":
		s.ITL, err = parseDuration(value)
	case "tokens":
		s.Tokens, err = parseInt(value, 0, maxTokens)
	case "reasoning":
		s.Reasoning, err = parseInt(value, 0, maxTokens)
	case "size":
		s.Size, err = parseInt(value, 0, maxSize)
	case "after":
		s.After, err = parseInt(value, 0, maxTokens)
	case "status":
		s.Status, err = parseInt(value, 200, 599)
	case "fault":
		s.Fault, err = value, checkFault(value)
	case "path":
		s.Path, err = value, checkPath(value)
	case "retry_after":
		s.RetryAfter = value
	case "body":
		s.Body = value
	case "location":
		s.Location = value
	default:
		return fmt.Errorf("unknown member %q: want one of ttft, itl, tokens, reasoning, size, fault, path, after, "+
			"status, retry_after, body, location", member)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", member, err)
	}
	return nil
}

// check says what is wrong with a script that came by struct or JSON, past set.
func (s *Script) check() error {
	for _, n := range []struct {
		member   string
		got      int
		low, top int
	}{
		{"tokens", s.Tokens, 0, maxTokens},
		{"reasoning", s.Reasoning, 0, maxTokens},
		{"size", s.Size, 0, maxSize},
		{"after", s.After, 0, maxTokens},
	} {
		if n.got < n.low || n.got > n.top {
			return fmt.Errorf("%s: %d: want %d to %d", n.member, n.got, n.low, n.top)
		}
	}
	switch {
	case s.TTFT < 0:
		return fmt.Errorf("ttft: %s: want 0 or more", time.Duration(s.TTFT))
	case s.ITL < 0:
		return fmt.Errorf("itl: %s: want 0 or more", time.Duration(s.ITL))
	case s.Status != 0 && (s.Status < 200 || s.Status > 599):
		return fmt.Errorf("status: %d: want 200 to 599", s.Status)
	}
	if err := checkPath(s.Path); err != nil {
		return fmt.Errorf("path: %w", err)
	}
	if err := checkFault(s.Fault); err != nil {
		return fmt.Errorf("fault: %w", err)
	}
	return nil
}

// overlay lays the members of the JSON object raw over s; null leaves a member as it is. A count is refused unless
// the caller has a place for it.
func (s *Script) overlay(raw []byte, count *int) error {
	return members(raw, func(key, value []byte) error {
		member, text := string(key), string(value)
		switch {
		case text == "null":
			return nil
		case value[0] == '"':
			inner, _ := textOf(value)
			text = goString(inner)
		case value[0] != '{' && value[0] != '[' && (member == "ttft" || member == "itl"):
			text += "ns" // as caddy.Duration reads a number
		}
		if member == "count" && count != nil {
			n, err := parseInt(text, 1, maxTokens)
			if err != nil {
				return fmt.Errorf("count: %w", err)
			}
			*count = n
			return nil
		}
		return s.set(member, text)
	})
}

// acts says whether the fault of a configured or controlled script concerns the route: see Path.
func (s *Script) acts(path string, inference bool) bool {
	return s.Path == "*" || s.Path == path || s.Path == "" && inference
}

func parseDuration(value string) (caddy.Duration, error) {
	d, err := caddy.ParseDuration(value)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%q: want a duration such as 50ms", value)
	}
	return caddy.Duration(d), nil
}

func parseInt(value string, low, top int) (int, error) {
	n, err := strconv.Atoi(value)
	if err != nil || n < low || n > top {
		return 0, fmt.Errorf("%q: want a number from %d to %d", value, low, top)
	}
	return n, nil
}

func checkPath(value string) error {
	if value != "" && value != "*" && !strings.HasPrefix(value, "/") {
		return fmt.Errorf("%q: want * or a path that begins with /", value)
	}
	return nil
}

// name is the fault's name in the table.
func (s *Script) name() string {
	if s.Fault == "" {
		return "none"
	}
	return s.Fault
}
