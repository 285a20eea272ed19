package alert

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// A1: an instance that flaps a hundred times in ten minutes.
func TestA1Flapping(t *testing.T) {
	inBubble(t, []string{"ops"}, func(r *rig) {
		for range 100 {
			r.out("a")
			time.Sleep(3 * time.Second)
			r.back("a")
			time.Sleep(3 * time.Second)
		}
		time.Sleep(10 * time.Minute)
		got := r.fake("ops").messages()
		wantMessages(t, got, "+a", "-a")
		if n := got[1].Groups[0].Alerts[0].Count; n != 100 {
			t.Errorf("count at the end: got %d, want 100", n)
		}
		synctest.Wait()
		if got := strings.Count(r.errorsLog(), "时间: "); got != 2 {
			t.Errorf("entries in the errors log of 10 minutes: got %d, want 2, one per cooldown", got)
		}
	})
}

// A2: fifty instances fail within five seconds.
func TestA2Fleet(t *testing.T) {
	inBubble(t, []string{"ops"}, func(r *rig) {
		began := time.Now()
		for n := range 50 {
			r.out(fmt.Sprintf("gpu-%02d", n))
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(2 * time.Minute)
		f := r.fake("ops")
		got := f.messages()
		if len(got) != 1 {
			t.Fatalf("messages: got %d, want 1", len(got))
		}
		if took := f.tries()[0].Sub(began); took > 35*time.Second {
			t.Errorf("sent after %v, want 35s at most", took)
		}
		text := got[0].text(plain)
		if n := strings.Count(text, "gpu-"); n != 20 || !strings.Contains(text, "and 30 more") || !strings.Contains(got[0].title(plain, 0), "×50") {
			t.Errorf("names: got %d in %q under %q, want 20 and the count of the rest", n, text, got[0].title(plain, 0))
		}
		if b := got[0].webhook(); len(b.Alerts) != 50 || b.Status != "firing" {
			t.Errorf("webhook: got %d alerts, %s, want all 50, firing", len(b.Alerts), b.Status)
		}
	})
}

// A3: a reminder each repeat, one resolve, nothing of what healed inside the wait.
func TestA3Life(t *testing.T) {
	inBubble(t, []string{"ops"}, func(r *rig) {
		r.out("blip")
		time.Sleep(10 * time.Second)
		r.back("blip")
		time.Sleep(time.Hour)
		wantMessages(t, r.fake("ops").messages())
		r.out("a")
		time.Sleep(9 * time.Hour)
		wantMessages(t, r.fake("ops").messages(), "+a", "=a", "=a")
		r.back("a")
		time.Sleep(9 * time.Hour)
		wantMessages(t, r.fake("ops").messages(), "+a", "=a", "=a", "-a")
	})
}

// A4: a message that fails is tried five times more with growing pauses, then every
// five minutes; what is refused for good is dropped and counted.
func TestA4Retries(t *testing.T) {
	inBubble(t, []string{"ops"}, func(r *rig) {
		f := r.fake("ops")
		f.set(errors.New("reset"), false)
		r.out("a")
		time.Sleep(5 * time.Minute)
		tries := f.tries()
		if len(tries) != 6 {
			t.Fatalf("attempts in the first round: got %d, want 6", len(tries))
		}
		for n := range 5 {
			pause, least := tries[n+1].Sub(tries[n]), time.Second<<n
			if pause < least || pause > least+least/4+time.Millisecond {
				t.Errorf("pause %d: got %v, want %v and up to a quarter more", n, pause, least)
			}
		}
		time.Sleep(30 * time.Minute)
		if got := len(f.tries()); got < 10 || got > 12 {
			t.Errorf("attempts in 35 minutes: got %d, want one every 5 minutes after the first round", got)
		}
		f.set(nil, false)
		time.Sleep(7 * time.Minute)
		wantMessages(t, f.messages(), "+a")
		if s := r.m.Stats().Receivers[0]; s.Sent != 1 || s.Errors < 9 || s.Waiting != 0 || s.LastError != "" {
			t.Errorf("stats: got %+v, want 1 sent, its errors, nothing waiting", s)
		}

		f.set(refused("HTTP 404"), false)
		before := len(f.tries())
		r.back("a")
		time.Sleep(time.Hour)
		if got := len(f.tries()) - before; got != 1 {
			t.Errorf("attempts of what is refused: got %d, want 1", got)
		}
		if s := r.m.Stats().Receivers[0]; s.Refused != 1 || s.Waiting != 0 {
			t.Errorf("stats: got %+v, want 1 refused, nothing waiting", s)
		}
	})
}

// A4: a receiver that hangs holds up neither the others nor the gateway.
func TestA4Hang(t *testing.T) {
	inBubble(t, []string{"hung", "ops"}, func(r *rig) {
		r.fake("hung").set(nil, true)
		for n := range 100 {
			began := time.Now()
			r.out(fmt.Sprint(n))
			if took := time.Since(began); took != 0 {
				t.Fatalf("signal %d took %v of fake time, want 0s", n, took)
			}
		}
		time.Sleep(31 * time.Second)
		if got := len(r.fake("ops").messages()); got != 1 {
			t.Errorf("the other receiver got %d messages, want 1", got)
		}
	}) // and Close ends within its bound
}

// A5: a robot that allows 18 a minute never gets more in any minute, and hears of
// all in the end.
func TestA5Rate(t *testing.T) {
	inBubble(t, []string{"robot"}, func(r *rig) {
		r.cfg.GroupWait, r.cfg.GroupInterval, r.cfg.Cooldown = 0, Seconds(time.Second), 0
		r.set()
		state := make(map[string]bool)
		for n := range 1200 {
			name := fmt.Sprint(n % 7)
			if state[name] = !state[name]; state[name] {
				r.out(name)
			} else {
				r.back(name)
			}
			time.Sleep(500 * time.Millisecond)
		}
		time.Sleep(2 * time.Minute)
		f := r.fake("robot")
		tries := f.tries()
		for n := 18; n < len(tries); n++ {
			if d := tries[n].Sub(tries[n-18]); d < time.Minute {
				t.Fatalf("19 messages within %v, want no more than 18 in a minute", d)
			}
		}
		if len(tries) < 150 || len(tries) > 220 {
			t.Errorf("messages in 10 minutes: got %d, want nearly 18 a minute", len(tries))
		}
		heard := make(map[string]bool)
		for _, m := range f.messages() {
			for _, g := range m.Groups {
				for _, a := range g.Alerts {
					heard[a.Instance] = !a.Over()
				}
			}
		}
		for name, out := range state {
			if heard[name] != out {
				t.Errorf("%s: people believe it is out: %v, want %v", name, heard[name], out)
			}
		}
	})
}

// A5: a robot that says how long it wants rest gets it.
func TestA5RestAskedFor(t *testing.T) {
	inBubble(t, []string{"robot"}, func(r *rig) {
		f := r.fake("robot")
		f.set(&failure{text: "errcode 130101", rest: 10 * time.Minute}, false)
		r.out("a")
		time.Sleep(time.Minute)
		f.set(nil, false)
		time.Sleep(time.Hour)
		tries := f.tries()
		if len(tries) != 2 || tries[1].Sub(tries[0]) < 10*time.Minute {
			t.Errorf("attempts: got %v, want the second 10 minutes after the first", tries)
		}
	})
}

// A6: all receivers are dead for an hour in which much happens.
func TestA6Dead(t *testing.T) {
	inBubble(t, []string{"one", "two"}, func(r *rig) {
		for _, name := range []string{"one", "two"} {
			r.fake(name).set(errors.New("no route"), false)
		}
		for n := range 60 {
			r.out(fmt.Sprint(n % 40))
			r.m.Signal(Signal{Kind: DiskLow, Active: n%2 == 0})
			if n%3 == 0 {
				r.back(fmt.Sprint(n % 40))
			}
			time.Sleep(time.Minute)
			for _, s := range r.m.Stats().Receivers {
				if s.Waiting > 100 {
					t.Fatalf("waiting: got %d, want 100 at most", s.Waiting)
				}
			}
		}
		before := r.m.Firing()
		for _, name := range []string{"one", "two"} {
			r.fake(name).set(nil, false)
		}
		time.Sleep(7 * time.Minute)
		for _, name := range []string{"one", "two"} {
			got := r.fake(name).messages()
			if len(got) == 0 || len(got) > 3 {
				t.Fatalf("%s: got %d messages after an hour, want one with the state of things", name, len(got))
			}
			told := make(map[string]bool)
			for _, g := range got[0].Groups {
				for _, a := range g.Alerts {
					told[string(g.Kind)+a.Instance] = a.New || a.Over()
				}
			}
			for _, g := range before {
				for _, a := range g.Alerts {
					if !told[string(g.Kind)+a.Instance] {
						t.Errorf("%s was not told of %s %s", name, g.Kind, a.Instance)
					}
				}
			}
		}
	})
}

// A7: a restart repeats nothing, and what nobody confirms is over.
func TestA7Restart(t *testing.T) {
	inBubble(t, []string{"ops"}, func(r *rig) {
		r.out("a")
		r.out("b")
		time.Sleep(time.Minute)
		r.stop()
		time.Sleep(10 * time.Second)
		r.start()
		r.out("a") // it fails again, b does not
		time.Sleep(4 * time.Minute)
		wantMessages(t, r.fake("ops").messages(), "+a +b")
		time.Sleep(5 * time.Minute)
		wantMessages(t, r.fake("ops").messages(), "+a +b", "-b =a")
		info, err := os.Stat(filepath.Join(r.dir, stateFile))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("state file: got %v, %v, want mode 0600", info.Mode(), err)
		}
		if info, err := os.Stat(r.dir); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("data_dir: got %v, %v, want mode 0700", info.Mode(), err)
		}
	})
}

// A7: killed at any moment, with any state of the disk that there was: nothing is
// silent, and nothing comes more than twice.
func TestA7Kill(t *testing.T) {
	for _, milliseconds := range []int{10, 29_990, 30_010, 30_100, 30_400, 31_000, 60_000} {
		after := time.Duration(milliseconds) * time.Millisecond
		t.Run(after.String(), func(t *testing.T) {
			inBubble(t, []string{"ops"}, func(r *rig) {
				r.out("a")
				time.Sleep(after)
				synctest.Wait()
				state, err := os.ReadFile(filepath.Join(r.dir, stateFile))
				if err != nil && !errors.Is(err, fs.ErrNotExist) {
					t.Fatal(err)
				}
				r.stop() // what it writes, a killed process would not have
				if err := os.WriteFile(filepath.Join(r.dir, stateFile), state, 0o600); err != nil {
					t.Fatal(err)
				}
				if state == nil {
					if err := os.Remove(filepath.Join(r.dir, stateFile)); err != nil {
						t.Fatal(err)
					}
				}
				r.start()
				r.out("a")
				time.Sleep(2 * time.Minute)
				got := r.fake("ops").messages()
				if len(got) == 0 || len(got) > 2 {
					t.Errorf("messages: got %d, want 1, or 2 at worst", len(got))
				}
				if after > time.Minute/2+time.Second/2 && len(got) != 1 {
					t.Errorf("messages after a kill when all was saved: got %d, want 1", len(got))
				}
			})
		})
	}
}

// A7: what its receiver has not taken before the restart it gets after it.
func TestA7Undelivered(t *testing.T) {
	inBubble(t, []string{"dead", "ops"}, func(r *rig) {
		r.fake("dead").set(errors.New("no route"), false)
		r.out("a")
		time.Sleep(time.Minute)
		r.stop()
		if log := r.errorsLog(); !strings.Contains(log, "undelivered to dead: instance_ejected: connect: refused") {
			t.Errorf("errors log: got %q, want what was not delivered", log)
		}
		r.fake("dead").set(nil, false)
		r.start()
		r.out("a")
		time.Sleep(time.Minute)
		wantMessages(t, r.fake("dead").messages(), "+a")
		wantMessages(t, r.fake("ops").messages(), "+a")
	})
}

// A torn state file costs a duplicate, not the start.
func TestStateTorn(t *testing.T) {
	inBubble(t, []string{"ops"}, func(r *rig) {
		r.stop()
		if _, err := os.Stat(r.dir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("data_dir before anything went wrong: got %v, want none", err)
		}
		if err := replace(filepath.Join(r.dir, stateFile), []byte(`{"version":1,"entries":[`)); err != nil {
			t.Fatal(err)
		}
		r.start()
		r.out("a")
		time.Sleep(time.Minute)
		wantMessages(t, r.fake("ops").messages(), "+a")
	})
}

// Swaps change who is told, and forget nothing.
func TestSwap(t *testing.T) {
	inBubble(t, []string{"old", "stays"}, func(r *rig) {
		r.out("a")
		time.Sleep(time.Minute)
		r.cfg.Receivers = r.cfg.Receivers[1:]
		r.receiver("new")
		for range 10 {
			r.set()
			time.Sleep(time.Second)
		}
		wantMessages(t, r.fake("stays").messages(), "+a")
		wantMessages(t, r.fake("new").messages(), "+a")
		r.back("a")
		time.Sleep(10 * time.Minute)
		wantMessages(t, r.fake("old").messages(), "+a")
		wantMessages(t, r.fake("stays").messages(), "+a", "-a")
		wantMessages(t, r.fake("new").messages(), "+a", "-a")
		r.cfg.Receivers[0].URL = "nonsense"
		if err := r.m.Set(Settings{Config: r.cfg}); err == nil {
			t.Error("bad settings: got no error, want one")
		}
	})
}

// A receiver that refused a message for a wrong token hears of it when the token is
// right.
func TestSwapAfterRefusal(t *testing.T) {
	inBubble(t, []string{"ops"}, func(r *rig) {
		r.fake("ops").set(refused("HTTP 401"), false)
		r.out("a")
		time.Sleep(time.Minute)
		r.fake("ops").set(nil, false)
		r.cfg.Receivers[0].Secret = "right"
		r.set()
		time.Sleep(time.Second)
		wantMessages(t, r.fake("ops").messages(), "+a")
	})
}

// Receivers hear of the kinds and severities that they ask for.
func TestRouting(t *testing.T) {
	inBubble(t, []string{"all", "bad", "money", "begins"}, func(r *rig) {
		no := false
		r.cfg.Receivers[1].MinSeverity = "critical"
		r.cfg.Receivers[2].Kinds = []string{"fallback_in_use", "budget_over"}
		r.cfg.Receivers[3].SendResolved = &no
		r.set()
		r.out("a")
		r.m.Signal(Signal{Kind: FallbackInUse, Model: "qwen3", Active: true})
		r.m.Signal(Signal{Kind: PoolEmpty, Model: "qwen3", Active: true})
		time.Sleep(time.Hour)
		r.back("a")
		time.Sleep(time.Hour)
		f := func(name, want string) {
			t.Helper()
			var got []string
			for _, m := range r.fake(name).messages() {
				got = append(got, m.title(plain, 0))
			}
			if strings.Join(got, "|") != want {
				t.Errorf("%s: got %q, want %q", name, got, want)
			}
		}
		f("all", "[CRITICAL] No instance left: qwen3; Fallback answers, which costs money: qwen3; Instance out of service: a [qwen3] · gw"+
			"|[RESOLVED] Instance out of service: a [qwen3] · gw")
		f("bad", "[CRITICAL] No instance left: qwen3 · gw")
		f("money", "[WARNING] Fallback answers, which costs money: qwen3 · gw")
		f("begins", "[CRITICAL] No instance left: qwen3; Fallback answers, which costs money: qwen3; Instance out of service: a [qwen3] · gw")
	})
}

// The errors log is that of the ancestor: four lines, the hour in the name.
func TestErrorsLog(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		r.out("gpu-1")
		r.m.Signal(Signal{Kind: DiskLow, Cause: "12 MiB left\nof 1 GiB", Active: true})
		time.Sleep(time.Second)
		synctest.Wait()
		want := "时间: 2000-01-01T00:00:00.000000\n 实例: gpu-1 [qwen3]\n 错误: connect: refused\n 最近错误次数: 5\n" +
			"时间: 2000-01-01T00:00:00.000000\n 实例: \n 错误: disk_low: 12 MiB left of 1 GiB\n 最近错误次数: 0\n"
		text, err := os.ReadFile(filepath.Join(r.dir, "errors", "20000101_00.log"))
		if err != nil || string(text) != want {
			t.Errorf("got %q, %v, want %q", text, err, want)
		}
		for path, mode := range map[string]fs.FileMode{"errors": 0o700, "errors/20000101_00.log": 0o600} {
			if info, err := os.Stat(filepath.Join(r.dir, path)); err != nil || info.Mode().Perm() != mode {
				t.Errorf("%s: got %v, %v, want mode %v", path, info.Mode(), err, mode)
			}
		}
	})
}

// test-alert tells what each receiver answered, is marked, and leaves no trace.
func TestTest(t *testing.T) {
	inBubble(t, []string{"good", "bad"}, func(r *rig) {
		r.fake("bad").set(errors.New("POST https://user:pw@hooks.example/x?token=canary: refused"), false)
		got := r.m.Test(r.t.Context(), "")
		if len(got) != 2 || !got[0].OK || got[0].Answer != "taken" || got[1].OK || strings.Contains(got[1].Answer, "canary") || strings.Contains(got[1].Answer, "pw") {
			t.Errorf("got %+v, want one good and one bad answer without secrets", got)
		}
		if m := r.fake("good").messages()[0]; !strings.HasPrefix(m.title(plain, 0), "[TEST] ") {
			t.Errorf("title: got %q, want it marked", m.title(plain, 0))
		}
		if got := r.m.Test(r.t.Context(), "none"); len(got) != 1 || got[0].OK || !strings.Contains(got[0].Answer, "good, bad") {
			t.Errorf("unknown receiver: got %+v, want the names there are", got)
		}
		for range 30 {
			got = r.m.Test(r.t.Context(), "good")
		}
		if got[0].OK || !strings.Contains(got[0].Answer, "rate") {
			t.Errorf("31st test in a minute: got %+v, want it held back", got)
		}
		if s := r.m.Stats(); s.Receivers[0].Sent+s.Receivers[1].Errors != 0 {
			t.Errorf("stats: got %+v, want tests not counted", s)
		}
	})
}

// Without keep_state nothing is remembered, and an old state does not come back.
func TestNoState(t *testing.T) {
	inBubble(t, []string{"ops"}, func(r *rig) {
		r.out("a")
		time.Sleep(time.Minute)
		r.cfg.KeepState = false
		r.set()
		time.Sleep(time.Second)
		synctest.Wait()
		if _, err := os.Stat(filepath.Join(r.dir, stateFile)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("state file: got %v, want none", err)
		}
	})
}

// Signals after the end are nothing, and a second end says so.
func TestClosed(t *testing.T) {
	inBubble(t, []string{"ops"}, func(r *rig) {
		r.stop()
		r.out("a")
		if err := r.m.Close(r.t.Context()); !errors.Is(err, errClosed) {
			t.Errorf("second close: got %v, want %v", err, errClosed)
		}
		if err := r.m.Set(Settings{Config: r.cfg}); !errors.Is(err, errClosed) {
			t.Errorf("settings after the end: got %v, want %v", err, errClosed)
		}
		r.start()
	})
}

// Under the race detector: signals, swaps, tests and looks from everywhere at once.
func TestConcurrent(t *testing.T) {
	inBubble(t, []string{"one", "two"}, func(r *rig) {
		r.cfg.GroupWait, r.cfg.GroupInterval, r.cfg.Cooldown = 0, Seconds(time.Second), 0
		r.set()
		var all sync.WaitGroup
		for n := range 4 {
			all.Go(func() {
				for i := range 200 {
					name := fmt.Sprint(n, i%5)
					switch i % 10 {
					case 0:
						r.set()
					case 1:
						r.m.Test(r.t.Context(), "one")
					case 2:
						r.m.Stats()
						r.m.Firing()
					case 3:
						r.m.Retain(func(Kind, string, string) bool { return true })
					case 4, 5, 6:
						r.back(name)
					default:
						r.out(name)
					}
					time.Sleep(100 * time.Millisecond)
				}
			})
		}
		all.Wait()
		time.Sleep(5 * time.Minute)
		want := r.m.Stats().Firing
		for _, s := range r.m.Stats().Receivers {
			if s.Waiting != 0 || s.Sent == 0 || want == 0 {
				t.Errorf("got %+v with %d firing, want all delivered", s, want)
			}
		}
	})
}

// The log tells what an operator can use, once each, and no secret.
func TestLog(t *testing.T) {
	inBubble(t, []string{"ops"}, func(r *rig) {
		core, logs := observer.New(zap.DebugLevel)
		r.cfg.Receivers[0].Secret = "canary-secret"
		if err := r.m.Set(Settings{Config: r.cfg, Secrets: []string{"canary-upstream-key"}, Logger: zap.New(core)}); err != nil {
			t.Fatal(err)
		}
		f := r.fake("ops")
		f.set(errors.New("POST https://bob:canary1@h/x?t=canary2 with canary-secret and canary-upstream-key: refused"), false)
		r.out("a canary-upstream-key")
		time.Sleep(30 * time.Minute)
		f.set(nil, false)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		var got []string
		for _, e := range logs.All() {
			got = append(got, e.Level.String()+" "+e.Message)
			if text := fmt.Sprint(e.Message, e.ContextMap()); strings.Contains(text, "canary") {
				t.Errorf("the log shows a secret: %s", text)
			}
		}
		want := []string{
			"warn alert not delivered, it will be tried again", "warn alert not delivered, it will be tried again", "info alert receiver takes messages again",
		}
		if !slices.Equal(got, want) {
			t.Errorf("log: got %q, want %q", got, want)
		}
		state, err := os.ReadFile(filepath.Join(r.dir, stateFile))
		if all := string(state) + r.errorsLog(); err != nil || strings.Contains(all, "canary") || !strings.Contains(all, "a ***") {
			t.Errorf("files: got %s, %v, want the alert without its secret", all, err)
		}
		if text := fmt.Sprintf("%+v", r.m.Stats()); strings.Contains(text, "canary") {
			t.Errorf("stats show a secret: %s", text)
		}
	})
}
