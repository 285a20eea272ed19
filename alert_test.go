package aigateway

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
)

// firing returns what people have been told of and what lasts, sorted.
func (s *store) firing() string {
	var all []string
	for _, g := range s.snapshot().alerts.Firing() {
		for _, a := range g.Alerts {
			all = append(all, fmt.Sprintf("%s %s[%s] %s", a.Kind, a.Instance, a.Model, a.Cause))
		}
	}
	slices.Sort(all)
	return strings.Join(all, "\n")
}

func (s *store) wantFiring(t testing.TB, what string, want ...string) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for got := s.firing(); got != strings.Join(want, "\n"); got = s.firing() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: got the alerts\n%s\nwant\n%s", what, got, strings.Join(want, "\n"))
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// alerting returns a file whose alerts are told at once, with these instances.
func alerting(members string, instances ...string) string {
	return `{"record": {"enabled": false}, "alert_cooldown": 0, "alerts": {"group_wait": 0, "group_interval": 1}, ` + members +
		`"instances": [` + strings.Join(instances, ", ") + `]}`
}

const (
	first  = `{"url": "http://127.0.0.1:1/v1", "model_name": "m", "name": "first", "api_key": "sk-canary"}`
	second = `{"url": "http://127.0.0.1:2/v1", "model_name": "m", "name": "second", "headers": {"X": "Bearer canary-2"}}`
	third  = `{"url": "http://127.0.0.1:3/v1", "model_name": "other", "name": "third"}`
)

// TestSignals guards which events people hear of, what they read, and that the second of
// a pair ends what the first one began.
func TestSignals(t *testing.T) {
	w := startWatched(t, alerting("", first, second))
	i := w.snapshot().fleet.instances[0]
	emit := func(all ...event) {
		for _, e := range all {
			w.store.events.emit(e)
		}
	}
	of := func(kind eventKind, why reason) event { return instanceEvent(kind, i, why, 0) }
	i.state.health.mu.Lock()
	i.state.health.out(reasonKey, clock(), time.Hour)
	i.state.health.mu.Unlock()
	gone := of(instanceEjected, reasonConnect)
	gone.upstream = "gone"
	emit(of(instanceEjected, reasonConnect), of(keyRefused, reasonKey), of(modelMissing, reasonModel), gone,
		event{kind: poolOnFallback, model: "m"}, event{kind: poolEmpty, model: "m"}, event{kind: instanceTrial, upstream: i.id},
		event{kind: configRejected, path: w.path, cause: "3:7: x: got sk-canary and canary-2", line: 3},
		event{kind: recorderDropping, cause: "queue_full", count: 3}, event{kind: diskLow, path: "/data"})
	w.wantFiring(t, "begun",
		"config_rejected [] config.json5:3:7: x: got *** and ***",
		"disk_low [] less than record.min_free is left on the disk of /data",
		"fallback_in_use [m] first: key",
		"instance_ejected first[m] connect: no connection can be opened",
		"key_refused first[m] key: it refuses its api_key",
		"model_missing first[m] model: it does not have the model",
		"pool_empty [m] first: key",
		"records_dropped [] queue_full, 3 lost so far")
	emit(of(instanceBack, reasonKey), event{kind: poolOffFallback, model: "m"}, event{kind: poolRefilled, model: "m"},
		event{kind: configApplied}, event{kind: recorderRecovered}, event{kind: diskRecovered})
	w.wantFiring(t, "over")
}

// TestAlertsOfThoseWhoLeft guards that a swap ends the alerts of instances and models
// that it takes out, and no others.
func TestAlertsOfThoseWhoLeft(t *testing.T) {
	w := startWatched(t, alerting("", first, second, third))
	for _, i := range w.snapshot().fleet.instances {
		w.store.events.emit(instanceEvent(instanceEjected, i, reasonReset, 0))
	}
	w.store.events.emit(event{kind: poolEmpty, model: "other"})
	const out = "instance_ejected %s[%s] reset: it breaks connections"
	f := func(instance, model string) string { return fmt.Sprintf(out, instance, model) }
	w.wantFiring(t, "all", f("first", "m"), f("second", "m"), f("third", "other"), "pool_empty [other] ")
	writeFile(t, w.path, alerting("", second))
	w.wantFiring(t, "two instances and a model have left", f("second", "m"))
}

// TestAlertsMove guards that a new data_dir goes on with what lasts.
func TestAlertsMove(t *testing.T) {
	w := startWatched(t, alerting("", first, second, third))
	for _, n := range []int{0, 2} {
		h := &w.snapshot().fleet.instances[n].state.health
		h.mu.Lock()
		h.out(reasonConnect, clock(), time.Hour)
		h.mu.Unlock()
	}
	const out = "instance_ejected %s connect: no connection can be opened"
	writeFile(t, w.path, alerting(`"data_dir": "elsewhere", `, first, second, third))
	w.wantFiring(t, "in the new data_dir", fmt.Sprintf(out, "first[m]"), fmt.Sprintf(out, "third[other]"), "pool_empty [other] third: connect")
	if got, want := w.snapshot().alerts.dir, filepath.Join(filepath.Dir(w.path), "elsewhere"); got != want {
		t.Errorf("got the alerts of %s, want %s", got, want)
	}
	if _, known := alertsPool.References(filepath.Join(filepath.Dir(w.path), "data")); known {
		t.Error("the alerts of the data_dir before are still held")
	}
}

// TestAlertsShared guards that two files with one data_dir share its alerts: a swap of
// one ends nothing of the other, and the end of one ends its own.
func TestAlertsShared(t *testing.T) {
	dir := t.TempDir()
	one, two := filepath.Join(dir, "one.json5"), filepath.Join(dir, "two.json5")
	writeFile(t, one, alerting("", first))
	writeFile(t, two, alerting("", third))
	w := watchFile(t, one)
	s, err := newStore(two, zap.NewNop())
	must(t, err)
	if s.snapshot().alerts != w.snapshot().alerts {
		t.Fatal("got two of one data_dir, want one")
	}
	for _, s := range []*store{w.store, s} {
		s.events.emit(instanceEvent(instanceEjected, s.snapshot().fleet.instances[0], reasonStatus, 0))
	}
	both := []string{"instance_ejected first[m] status: it answers with error statuses", "instance_ejected third[other] status: it answers with error statuses"}
	w.wantFiring(t, "both", both...)
	writeFile(t, one, alerting("", first, second))
	w.events.wait(t, configApplied)
	w.store.events.emit(event{kind: diskLow, path: "/d"})
	w.wantFiring(t, "after a swap of one", append([]string{"disk_low [] less than record.min_free is left on the disk of /d"}, both...)...)
	w.store.events.emit(event{kind: diskRecovered})
	w.wantFiring(t, "the same", both...)
	must(t, s.Destruct())
	w.wantFiring(t, "after the end of two", both[0])
	if w.snapshot().alerts.Stats().Firing != 1 {
		t.Error("got no alerts after the end of one holder, want them to go on for the other")
	}
}

// TestAlertFiles guards that alerts write nothing before the first one, and then for their
// owner alone.
func TestAlertFiles(t *testing.T) {
	w := startWatched(t, alerting("", first, second))
	data := filepath.Join(filepath.Dir(w.path), "data")
	writeFile(t, w.path, alerting(`"error_threshold": 9, `, first, second))
	w.events.wait(t, configApplied)
	if _, err := os.Stat(data); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without an alert: got %v, want no data_dir", err)
	}
	w.store.events.emit(instanceEvent(instanceEjected, w.snapshot().fleet.instances[0], reasonCut, 0))
	state := filepath.Join(data, "alerts_state.json")
	eventually(t, "the state file", func() bool {
		_, err := os.Stat(state)
		return err == nil
	})
	for path, want := range map[string]fs.FileMode{data: 0o700, state: 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: got %v, %v, want mode %v", path, info.Mode(), err, want)
		}
	}
}
