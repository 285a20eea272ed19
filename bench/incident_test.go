//go:build linux

package main

import (
	"testing"
	"time"

	"github.com/simpleaigateway/caddy-ai-gateway/bench/internal/chat"
	"github.com/simpleaigateway/caddy-ai-gateway/bench/internal/load"
)

const (
	dead  = "127.0.0.2:1000/v1"
	alive = "127.0.0.3:1000/v1"
)

// entry is a request that began, was answered and ended at times in ms.
func entry(begun, head, ended int64, stream bool, upstream string, attempts int, fault string) load.Entry {
	const ms = int64(time.Millisecond)
	e := load.Entry{Begun: begun * ms, Head: head * ms, Ended: ended * ms, Status: 200, Stream: stream, Upstream: upstream, Attempts: attempts, Error: fault}
	if head == 0 {
		e.Status, e.Upstream, e.Attempts = 0, "", 0
	}
	return e
}

// incidentOf is one with a kill at 10 s and a restart at 12 s, and quiet traffic
// before: answers of 100 ms, and streams that begin after 4 ms.
func incidentOf(entries ...load.Entry) *incident {
	i := &incident{victim: "127.0.0.2:1000", killed: int64(10 * time.Second), gone: int64(10*time.Second + 5*time.Millisecond), restarted: int64(12 * time.Second), journal: entries}
	for at := int64(1000); at < 8000; at += 100 {
		i.journal = append(i.journal, entry(at, at+100, at+100, false, dead, 1, ""), entry(at, at+4, at+1000, true, alive, 1, ""))
	}
	return i
}

// TestIncident guards the arithmetic of the failover command: what counts as
// under way, as broken, as out and as back.
func TestIncident(t *testing.T) {
	event, short := chat.ErrEvent.Error(), chat.ErrShort.Error()
	got := incidentOf(
		entry(9500, 9504, 10001, true, dead, 1, event),
		entry(9600, 9604, 10002, true, dead, 1, event),
		entry(10001, 10003, 10004, true, dead, 1, event), // while it died
		entry(9100, 9104, 10001, true, dead, 1, ""),      // its last bytes were on their way
		entry(9500, 9504, 10500, true, alive, 1, ""),     // on another instance
		entry(9950, 10150, 10150, false, alive, 2, ""),   // met the dead instance at the kill
		entry(10020, 10124, 10124, false, alive, 2, ""),  // and after it
		entry(10030, 10130, 10130, false, alive, 1, ""),  // did not
		entry(13900, 13904, 14904, true, alive, 2, ""),   // a failed trial is not of this time
		entry(14000, 14100, 14100, false, dead, 1, ""),   // served again
		entry(14500, 14504, 15504, true, dead, 1, short), // no proof of service
	).figures()
	if got.Requests != 151 || got.OK != 147 || got.BeforeCommit != 0 || got.Wrong != 0 || got.Broken != 0 {
		t.Errorf("requests: got %+v", got)
	}
	if got.Committed != 4 || got.Finished != 1 || got.WithEvent != 3 || got.WithoutEvent != 0 || got.LookedWhole != 1 {
		t.Errorf("streams: got %+v", got)
	}
	if got.Retried != 3 || got.MostAttempts != 2 || got.Attempts != 154./151 {
		t.Errorf("attempts: got %+v", got)
	}
	if got.Out != 20 || got.Back == nil || *got.Back != 2100 {
		t.Errorf("rotation: got %+v", got)
	}
	// A histogram is right to 1.6 %, which of the usual 100 ms makes 0.4 ms.
	if a, b := got.Added, got.Before; a.Count != 4 || a.P99 < 99 || a.P99 > 101 || a.P50 > 5 || b.Count != 144 || b.P99 > 0.5 {
		t.Errorf("latency: got %+v, before %+v", a, b)
	}
	if got := incidentOf().figures(); got.Back != nil || got.Out != 0 || got.Added.Count != 0 {
		t.Errorf("nothing happened: got %+v", got)
	}
}

// TestFault guards that every way in which a client may be harmed ends the command
// with an error, and that a stream broken as promised does not.
func TestFault(t *testing.T) {
	f := func(want string, entries ...load.Entry) {
		t.Helper()
		got := ""
		if err := incidentOf(entries...).figures().fault(); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%+v: got %q, want %q", entries, got, want)
		}
	}
	refused := entry(10010, 10020, 10020, false, dead, 3, "status 502")
	refused.Status = 502
	f("")
	f("", entry(9500, 9504, 10001, true, dead, 1, chat.ErrEvent.Error()))
	f("1 client errors before commit", refused)
	f("1 client errors before commit", entry(10010, 0, 10020, true, "", 0, "connection reset"))
	f("1 broken streams without the error event, 0 of them with a clean end", entry(9500, 9504, 10001, true, dead, 1, "connection closed early"))
	f("1 broken streams without the error event, 1 of them with a clean end", entry(9500, 9504, 10001, true, dead, 1, chat.ErrShort.Error()))
	f("1 wrong answers, 0 broken answers in one piece, 0 streams broken on other instances", entry(9500, 9504, 10001, true, dead, 1, chat.ErrWrong.Error()+": x"))
	f("0 wrong answers, 1 broken answers in one piece, 0 streams broken on other instances", entry(9900, 9990, 10001, false, dead, 1, chat.ErrShort.Error()))
	f("0 wrong answers, 0 broken answers in one piece, 1 streams broken on other instances", entry(9500, 9504, 10001, true, alive, 1, chat.ErrEvent.Error()))
	if err := (incidentFigures{}).fault(); err == nil || err.Error() != "no request was made" {
		t.Errorf("empty journal: got %v", err)
	}
}
