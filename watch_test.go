package aigateway

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"
	logobserver "go.uber.org/zap/zaptest/observer"
)

// activeWithin is how long a saved change may take to be in force.
const activeWithin = 2 * time.Second

// watched is a store whose file a test changes, with all it says.
type watched struct {
	*store
	logs   *logobserver.ObservedLogs
	events *eventLog
}

// watchFile begins to watch the file at path.
func watchFile(t testing.TB, path string) *watched {
	t.Helper()
	core, logs := logobserver.New(zap.InfoLevel)
	s, err := newStore(path, zap.New(core))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Destruct(); err != nil {
			t.Error(err)
		}
	})
	return &watched{s, logs, logEvents(s)}
}

// startWatched watches a file of the given content in a folder of its own.
func startWatched(t testing.TB, text string) *watched {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.json5")
	writeFile(t, path, text)
	return watchFile(t, path)
}

// weighted is a good file that is told apart by its weight.
func weighted(weight int) string {
	return fmt.Sprintf(`{"record": {"enabled": false}, "instances": [{"url": "http://127.0.0.1:1/v1", "model_name": "m", "weight": %d}]}`, weight)
}

func (w *watched) weight() int { return w.snapshot().fleet.instances[0].weight }

// reaches waits until the file of that weight is in force, and returns how long it took,
// apart from the longest time for which this process itself did not run.
func (w *watched) reaches(t testing.TB, weight int) time.Duration {
	t.Helper()
	began, own := time.Now(), watchOwn()
	eventually(t, fmt.Sprintf("weight %d to be in force", weight), func() bool { return w.weight() == weight })
	took := time.Since(began)
	return took - own.longest()
}

// count returns how many lines of the log begin so.
func (w *watched) count(message string) int {
	n := 0
	for _, e := range w.logs.All() {
		if strings.HasPrefix(e.Message, message) {
			n++
		}
	}
	return n
}

const (
	badMessage  = "fleet's file is not valid"
	goodMessage = "fleet's file is in force"
)

// saves are the ways in which programs save a file.
var saves = map[string]func(t testing.TB, path, text string){
	"in place": func(t testing.TB, path, text string) { must(t, os.WriteFile(path, []byte(text), 0o600)) },
	"rename":   func(t testing.TB, path, text string) { writeFile(t, path, text) },
	"backup and create": func(t testing.TB, path, text string) {
		must(t, os.Rename(path, path+"~"))
		must(t, os.WriteFile(path, []byte(text), 0o600))
	},
	"delete and create": func(t testing.TB, path, text string) {
		must(t, os.Remove(path))
		must(t, os.WriteFile(path, []byte(text), 0o600))
	},
	"a link to another folder": func(t testing.TB, path, text string) {
		target := filepath.Join(filepath.Dir(filepath.Dir(path)), "elsewhere")
		writeFile(t, target, text)
		if at, _ := os.Readlink(path); at != target {
			must(t, os.Remove(path))
			must(t, os.Symlink(target, path))
		}
	},
	"ConfigMap": configMapSwap,
}

// configMapSwap changes a file as Kubernetes does with a ConfigMap: the file is a
// link through the link ..data, which is replaced.
func configMapSwap(t testing.TB, path, text string) {
	dir := filepath.Dir(path)
	version, err := os.MkdirTemp(dir, "..version-")
	must(t, err)
	writeFile(t, filepath.Join(version, filepath.Base(path)), text)
	old, _ := os.Readlink(filepath.Join(dir, "..data"))
	must(t, os.Symlink(filepath.Base(version), filepath.Join(dir, "..data_tmp")))
	must(t, os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
	if old == "" {
		must(t, os.RemoveAll(path))
		must(t, os.Symlink(filepath.Join("..data", filepath.Base(path)), path))
		return
	}
	must(t, os.RemoveAll(filepath.Join(dir, old)))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestSaves guards row F1: of 20 changes in a row, by every way of saving, each is in
// force within two seconds, once and without an error.
func TestSaves(t *testing.T) {
	for name, save := range saves {
		t.Run(name, func(t *testing.T) {
			w := startWatched(t, weighted(100))
			own := watchOwn()
			var slowest time.Duration
			changes := 20
			if name == "a link to another folder" { // without notices
				changes = 3
			}
			for n := 1; n <= changes; n++ {
				save(t, w.path, weighted(n))
				slowest = max(slowest, w.reaches(t, n))
			}
			if slowest > activeWithin {
				t.Errorf("got %v for the slowest change, want at most %v", slowest, activeWithin)
			}
			eventually(t, "the last line", func() bool { return w.count(goodMessage) >= changes })
			gap := own.longest() // for which half a save may have stood
			if bad, good := w.count(badMessage), w.count(goodMessage); bad != 0 && gap < standTime/2 || good != changes {
				t.Errorf("got %d errors and %d changes in the log, want 0 and %d; this process waited for %v at most", bad, good, changes, gap)
			}
			t.Logf("slowest %v", slowest)
		})
	}
}

// TestTouch guards the other half of F1: what does not change the content changes
// nothing.
func TestTouch(t *testing.T) {
	w := startWatched(t, weighted(1))
	before := w.snapshot()
	for n := range 20 {
		at := time.Now().Add(time.Duration(n) * time.Hour)
		must(t, os.Chtimes(w.path, at, at))
		must(t, os.Chmod(w.path, 0o600|os.FileMode(n%2)<<2))
		saves["rename"](t, w.path, weighted(1))
		if _, news, err := w.load(); news || err != nil {
			t.Fatalf("got news %v, error %v, want nothing", news, err)
		}
	}
	saves["in place"](t, w.path, weighted(2))
	w.reaches(t, 2)
	eventually(t, "the change to be told", func() bool { return w.count(goodMessage) > 0 })
	if before == w.snapshot() || w.count(goodMessage) != 1 || w.count(badMessage) != 0 {
		t.Errorf("got %v, want one line, for the change", w.logs.All())
	}
}

// TestHalfWritten guards row F2: while a file is written in ten slices over a second
// the old content serves every request, and no error is told, or one for each content
// that stood for long.
func TestHalfWritten(t *testing.T) {
	good := startGood(t)
	text := fleetOf(good.url)
	g := startGateway(t, text)
	core, logs := logobserver.New(zap.InfoLevel)
	g.store.logger.Store(zap.New(core))
	var stop atomic.Bool
	var load sync.WaitGroup
	asked := new(atomic.Int64)
	for range 4 {
		load.Go(func() {
			for !stop.Load() {
				if a := g.chat(true); !a.whole() {
					t.Errorf("got %+v, want a whole answer", a)
					return
				}
				asked.Add(1)
			}
		})
	}
	next := fleetWith(`"error_threshold": 77`, good.url, good.url+"/other")
	f, err := os.OpenFile(g.file, os.O_WRONLY|os.O_TRUNC, 0)
	must(t, err)
	pace := time.NewTicker(100 * time.Millisecond)
	defer pace.Stop()
	var longest time.Duration // that a slice stood still, on a machine that may be busy
	last := time.Now()
	for n := range 10 {
		<-pace.C
		longest, last = max(longest, time.Since(last)), time.Now()
		if got := g.store.snapshot().threshold; got != 10 {
			t.Errorf("slice %d: got threshold %d, want the old one, 10", n, got)
		}
		_, err := f.WriteString(next[n*len(next)/10 : (n+1)*len(next)/10])
		must(t, err)
	}
	must(t, f.Close())
	eventually(t, "the whole file to be in force", func() bool { return g.store.snapshot().threshold == 77 })
	stop.Store(true)
	load.Wait()
	told := make(map[string]int)
	for _, e := range logs.FilterLevelExact(zap.ErrorLevel).All() {
		told[fmt.Sprint(e.ContextMap()["error"])]++
	}
	for text, n := range told {
		if n > 1 || longest < standTime {
			t.Errorf("got %d times %s, want nothing told of contents that stood %v at most", n, text, longest)
		}
	}
	t.Logf("%d requests, slices stood %v at most", asked.Load(), longest)
}

// TestSyntaxError guards row F3: a mistake leaves the old content in force and is
// told once, with line and column in characters and the line itself; an event and a
// metric say so until it is mended.
func TestSyntaxError(t *testing.T) {
	w := startWatched(t, weighted(1))
	const bad = "{\n  /* größe */ instances: [ { url: \"http://127.0.0.1:1/v1\" model_name: \"m\", api_key: \"sk-secret\" } ],\n}"
	writeFile(t, w.path, bad)
	e := w.events.wait(t, configRejected)
	if e.line != 2 || e.column != 59 || !strings.HasPrefix(e.cause, "2:59: ") || e.path != w.path {
		t.Errorf("got event %+v, want line 2, column 59", e)
	}
	lines := w.logs.FilterLevelExact(zap.ErrorLevel).All()
	if len(lines) != 1 {
		t.Fatalf("got %d errors in the log, want 1", len(lines))
	}
	told := fmt.Sprint(lines[0].ContextMap()["error"])
	if !strings.Contains(told, "2:59: ") || !strings.Contains(told, "instances: [ { url:") || !strings.HasSuffix(told, "^") {
		t.Errorf("got %q, want line and column and the line itself", told)
	}
	if strings.Contains(told+e.cause, "sk-secret") {
		t.Errorf("got %q and %q, want no key", told, e.cause)
	}
	if w.weight() != 1 {
		t.Error("the old content is not in force")
	}
	if got := gathered(t, "caddy_ai_gateway_config_last_reload_successful"); got != 0 {
		t.Errorf("got successful %v, want 0", got)
	}
	before := gathered(t, "caddy_ai_gateway_config_last_reload_success_timestamp_seconds")
	for range 3 { // the same content is told once
		w.load()
	}
	writeFile(t, w.path, weighted(2))
	w.events.wait(t, configApplied)
	if got := gathered(t, "caddy_ai_gateway_config_last_reload_successful"); got != 1 {
		t.Errorf("after mending: got successful %v, want 1", got)
	}
	if got := gathered(t, "caddy_ai_gateway_config_last_reload_success_timestamp_seconds"); got <= before {
		t.Errorf("after mending: got time %v, want one after %v", got, before)
	}
	if n := w.count(badMessage); n != 1 {
		t.Errorf("got %d errors in the log, want 1", n)
	}
}

// TestFileAway guards row F4: whatever takes the place of the file, the old content
// stays in force, nothing blocks, one error is told, and within two seconds of its
// return the file is in force.
func TestFileAway(t *testing.T) {
	for name, c := range map[string]struct {
		takeAway func(t testing.TB, path string)
		said     string
	}{
		"deleted": {func(t testing.TB, path string) { must(t, os.Remove(path)) }, "no such file"},
		"folder deleted": {func(t testing.TB, path string) {
			must(t, os.RemoveAll(filepath.Dir(path)))
		}, "no such file"},
		"folder renamed": {func(t testing.TB, path string) {
			must(t, os.Rename(filepath.Dir(path), filepath.Dir(path)+"-away"))
		}, "no such file"},
		"folder is a file": {func(t testing.TB, path string) {
			must(t, os.RemoveAll(filepath.Dir(path)))
			writeFile(t, filepath.Dir(path), "")
		}, "not a directory"},
		"is a directory": {func(t testing.TB, path string) {
			must(t, os.Remove(path))
			must(t, os.Mkdir(path, 0o700))
		}, "no regular file"},
		"FIFO": {func(t testing.TB, path string) {
			must(t, os.Remove(path))
			must(t, syscall.Mkfifo(path, 0o600))
		}, "no regular file"},
		"link to itself": {func(t testing.TB, path string) {
			must(t, os.Remove(path))
			must(t, os.Symlink(filepath.Base(path), path))
		}, "too many levels of symbolic links"},
		"link to nothing": {func(t testing.TB, path string) {
			must(t, os.Remove(path))
			must(t, os.Symlink("nothing", path))
		}, "no such file"},
		"unreadable": {func(t testing.TB, path string) {
			if os.Getuid() == 0 {
				t.Skip("root may read everything")
			}
			must(t, os.Chmod(path, 0))
		}, "permission denied"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "etc")
			must(t, os.Mkdir(dir, 0o700))
			path := filepath.Join(dir, "config.json5")
			writeFile(t, path, weighted(1))
			w := watchFile(t, path)
			for n := 2; n <= 3; n++ { // and once more, when the watch has been renewed
				c.takeAway(t, path)
				e := w.events.wait(t, configRejected)
				if !strings.Contains(e.cause, c.said) {
					t.Errorf("got cause %q, want %q", e.cause, c.said)
				}
				if w.weight() != n-1 {
					t.Errorf("got weight %d, want the old content with %d", w.weight(), n-1)
				}
				if info, err := os.Stat(dir); err != nil || !info.IsDir() {
					os.RemoveAll(dir)
					os.RemoveAll(dir + "-away")
					must(t, os.Mkdir(dir, 0o700))
				}
				os.RemoveAll(path)
				writeFile(t, path, weighted(n))
				took := w.reaches(t, n)
				if took > activeWithin {
					t.Errorf("got %v until the file was in force again, want at most %v", took, activeWithin)
				}
				w.events.wait(t, configApplied)
				t.Logf("back after %v", took)
			}
			if n := w.count(badMessage); n != 2 {
				t.Errorf("got %d errors in the log, want one for each time", n)
			}
		})
	}
}

// TestSameFileBack guards that a file that was away and comes back as it was is told
// of, without another snapshot.
func TestSameFileBack(t *testing.T) {
	w := startWatched(t, weighted(1))
	before := w.snapshot()
	must(t, os.Rename(w.path, w.path+"~"))
	w.events.wait(t, configRejected)
	must(t, os.Rename(w.path+"~", w.path))
	e := w.events.wait(t, configApplied)
	if e.count != 0 || e.cause != "no change" || w.snapshot() != before {
		t.Errorf("got %+v, want no change", e)
	}
	if got := gathered(t, "caddy_ai_gateway_config_last_reload_successful"); got != 1 {
		t.Errorf("got successful %v, want 1", got)
	}
}

// TestNothingInFile guards row F5: a file without instances is refused.
func TestNothingInFile(t *testing.T) {
	w := startWatched(t, weighted(1))
	for n, text := range []string{"", " \n", "// nothing\n/* at all */", "{}", `{"instances": []}`, `{"instances": [], "fallback_instances": []}`, "null", "\uFEFF"} {
		writeFile(t, w.path, text)
		e := w.events.wait(t, configRejected)
		if w.weight() != 1 || e.line == 0 {
			t.Errorf("%q: got %+v, want a place in the file, and the old content in force", text, e)
		}
		if got := w.count(badMessage); got != n+1 {
			t.Errorf("%q: got %d errors in the log, want %d", text, got, n+1)
		}
	}
}

// TestHugeFile guards row F6: a file that is too large or too deep is refused within
// 100 ms.
func TestHugeFile(t *testing.T) {
	for name, c := range map[string]struct {
		write func(t testing.TB, path string)
		want  string
	}{
		"64 MiB":           {func(t testing.TB, path string) { must(t, os.Truncate(path, 64<<20)) }, "larger than 8388608 bytes"},
		"a blank too many": {func(t testing.TB, path string) { writeFile(t, path, weighted(2)+strings.Repeat(" ", 8<<20)) }, "larger than 8388608 bytes"},
		"deep lists":       {func(t testing.TB, path string) { writeFile(t, path, strings.Repeat("[", 1e6)) }, "64"},
		"deep objects":     {func(t testing.TB, path string) { writeFile(t, path, strings.Repeat(`{"a":`, 1e6)) }, "64"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "config.json5")
			writeFile(t, path, "")
			c.write(t, path)
			began := time.Now()
			_, err := newStore(path, zap.NewNop())
			t.Log(time.Since(began)) // a figure, no bound: other programs may have the processors
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %.300v, want %q", err, c.want)
			}
			w := startWatched(t, weighted(1))
			c.write(t, path)
			must(t, os.Rename(path, w.path)) // whole, as half of a long text would be another mistake
			if e := w.events.wait(t, configRejected); !strings.Contains(e.cause, c.want) || w.weight() != 1 {
				t.Errorf("got %.300q, want %q and the old content in force", e.cause, c.want)
			}
		})
	}
}

// TestContentDecides guards row F16: a change that leaves size and time as they were,
// or sets the time back, is seen.
func TestContentDecides(t *testing.T) {
	w := startWatched(t, weighted(1))
	at := time.Now().Add(-time.Hour).Truncate(time.Second)
	for n := 2; n <= 9; n++ {
		must(t, os.Chtimes(w.path, at, at))
		f, err := os.OpenFile(w.path, os.O_WRONLY, 0)
		must(t, err)
		_, err = f.WriteString(weighted(n))
		must(t, err)
		must(t, f.Close())
		must(t, os.Chtimes(w.path, at, at))
		if took := w.reaches(t, n); took > activeWithin {
			t.Errorf("got %v, want at most %v", took, activeWithin)
		}
		at = at.Add(-time.Duration(n%2) * time.Hour) // backwards every other time
	}
}

// TestSecretFile guards rows F14 and F17 for keys in files: a missing file makes the
// content bad and is named; once it is there, and whenever it changes, it takes
// effect without a change of config.json5.
func TestSecretFile(t *testing.T) {
	w := startWatched(t, weighted(1))
	secret := filepath.Join(filepath.Dir(w.path), "key")
	writeFile(t, w.path, `{"record": {"enabled": false}, "instances": [{"url": "http://127.0.0.1:1/v1", "model_name": "m", "api_key": "{file.key}"}]}`)
	if e := w.events.wait(t, configRejected); !strings.Contains(e.cause, "key") || w.weight() != 1 {
		t.Errorf("got %+v, want the missing file's name", e)
	}
	key := func() string { return w.snapshot().fleet.instances[0].key }
	for _, want := range []string{"sk-first", "sk-other"} {
		began, own := time.Now(), watchOwn()
		writeFile(t, secret, want+"\n")
		eventually(t, "the key "+want, func() bool { return key() == want })
		if took := time.Since(began) - own.longest(); took > activeWithin {
			t.Errorf("got %v, want at most %v", took, activeWithin)
		}
		w.events.wait(t, configApplied)
	}
	for _, e := range w.logs.All() {
		if text := fmt.Sprint(e.Message, e.ContextMap()); strings.Contains(text, "sk-") {
			t.Errorf("got a key in the log: %s", text)
		}
	}
}

// TestFolderWatch guards that the system's notices come again after the folder was
// replaced in any way, and after the watcher has died.
func TestFolderWatch(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "etc")
	must(t, os.Mkdir(dir, 0o700))
	w := folderWatch{path: dir, logger: zap.NewNop}
	w.renew()
	defer w.close()
	notices := func(what string) {
		t.Helper()
		writeFile(t, filepath.Join(dir, "config.json5"), what)
		select {
		case _, open := <-w.events:
			if !open {
				t.Fatalf("%s: got the end of the notices, want one", what)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("%s: got no notice", what)
		}
	}
	notices("at first")
	renewed := func(what string) {
		t.Helper()
		before := w.watcher
		eventually(t, "a new watch", func() bool {
			select {
			case <-w.events:
			default:
			}
			w.renew()
			return w.watcher != before
		})
		notices(what)
		same := w.watcher
		if w.renew(); w.watcher != same {
			t.Errorf("%s: got a new watch where nothing has changed", what)
		}
	}
	must(t, os.RemoveAll(dir))
	w.renew() // while it is away
	must(t, os.Mkdir(dir, 0o700))
	renewed("deleted and made again")
	must(t, os.Rename(dir, dir+"-old"))
	must(t, os.Mkdir(dir, 0o700))
	renewed("renamed and made again")
	must(t, os.Rename(dir, dir+"-a"))
	must(t, os.Symlink("etc-a", dir))
	renewed("a link instead")
	must(t, os.Mkdir(dir+"-b", 0o700))
	must(t, os.Symlink("etc-b", dir+"-link"))
	must(t, os.Rename(dir+"-link", dir))
	renewed("the link goes elsewhere")
	must(t, w.watcher.Close())
	for open := true; open; {
		_, open = <-w.events
	}
	w.check(nil, false)
	if w.events != nil || w.errors != nil {
		t.Error("got channels that are always ready, want none")
	}
	w.renew()
	notices("after the watcher's end")
}

// TestReadRegular guards that nothing but a regular file within its limit is read.
func TestReadRegular(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	for size, ok := range map[int]bool{0: true, 99: true, 100: true, 101: false, 1000: false} {
		want := bytes.Repeat([]byte("x"), size)
		writeFile(t, path, string(want))
		if got, err := readRegular(path, 100); ok != (err == nil) || ok && !bytes.Equal(got, want) {
			t.Errorf("%d bytes: got %d and error %v", size, len(got), err)
		}
	}
	if _, err := readRegular("/dev/zero", 100); err == nil {
		t.Error("/dev/zero: got no error")
	}
}
