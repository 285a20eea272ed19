package aigateway

import (
	"regexp"
	"strings"
	"testing"
)

// TestNewRequestID guards that a request's own name is 32 hex digits, and that
// none comes twice.
func TestNewRequestID(t *testing.T) {
	form := regexp.MustCompile(`^[0-9a-f]{32}$`)
	seen := make(map[string]bool)
	for range 100_000 {
		id := newRequestID()
		if !form.MatchString(id) || seen[id] || !safeID(id) {
			t.Fatalf("got %q, seen before %v, want 32 new hex digits", id, seen[id])
		}
		seen[id] = true
	}
}

// TestSafeID guards which names of a client's for its request are kept: at most
// 128 characters that steer nothing (C22).
func TestSafeID(t *testing.T) {
	for id, want := range map[string]bool{
		"": false, "a": true, "req_01JABC-def.9:1": true, "8f14e45f-ceea-467f-9575-6c2f1b2b9d01": true,
		"Root=1-67891233-abcdef012345678912345678": true, "a/b+c==": true, "a~b@c,d": true,
		strings.Repeat("x", 128): true, strings.Repeat("x", 129): false, strings.Repeat("x", 1<<20): false,
		"a\r\nX-Admin: 1": false, "a\nb": false, "a\x00b": false, "a\x1b[31m": false, "a\tb": false, "a b": false, "a\x7f": false,
		`a"b`: false, "a'b": false, `a\b`: false, "a;b": false, "a<b>": false, "a&b": false, "a%0a": false, "{env.HOME}": false,
		"é": false, "\xff": false, "a\u202eb": false, "名": false,
	} {
		if got := safeID(id); got != want {
			t.Errorf("%.40q of %d bytes: got %v, want %v", id, len(id), got, want)
		}
	}
}
