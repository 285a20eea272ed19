package hourly

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// disk is a file system in memory that fails as it is told to, and that can lose
// power: then what was not synced is gone, contents and names alike.
type disk struct {
	mu      sync.Mutex
	names   map[string]*inode // what the process sees
	durable map[string]*inode // the names that were synced
	space   int64             // bytes left
	noLocks bool
	ops     int
	later   bool     // SyncBeside ends with end
	running []func() // by it
	starts  int      // calls of StartSync
	// fault is asked before every operation. Of a write, the first n bytes still go
	// through. It may block.
	fault func(op, name string) (n int, err error)
}

type inode struct {
	mode   fs.FileMode
	data   []byte
	synced int     // bytes that survive a loss of power
	owner  *handle // who has it locked
}

// newDisk returns an empty disk of many bytes, with the directory /.
func newDisk() *disk {
	root := &inode{mode: fs.ModeDir | 0o755}
	return &disk{names: map[string]*inode{"/": root}, durable: map[string]*inode{"/": root}, space: 1 << 40}
}

func (d *disk) fails(op, name string) (int, error) {
	d.mu.Lock()
	d.ops++
	fault := d.fault
	d.mu.Unlock()
	if fault == nil {
		return 0, nil
	}
	n, err := fault(op, name)
	if err != nil {
		err = &fs.PathError{Op: op, Path: name, Err: err}
	}
	return n, err
}

// set changes what fails.
func (d *disk) set(fault func(op, name string) (int, error)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fault = fault
}

// failing makes every one of the operations fail with err.
func (d *disk) failing(err error, ops ...string) {
	d.set(func(op, _ string) (int, error) {
		if slices.Contains(ops, op) {
			return 0, err
		}
		return 0, nil
	})
}

// crash returns the disk after a loss of power: of what was written since the last
// sync, any beginning may be there.
func (d *disk) crash(r *rand.Rand) *disk {
	after := newDisk()
	for name, n := range d.durable {
		data := slices.Clone(n.data[:n.synced+r.IntN(len(n.data)-n.synced+1)])
		c := &inode{mode: n.mode, data: data, synced: len(data)}
		after.names[name], after.durable[name] = c, c
	}
	return after
}

func notThere(op, name string) error {
	return &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
}

func (d *disk) OpenFile(name string, flag int, mode fs.FileMode) (File, error) {
	if _, err := d.fails("open", name); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	n := d.names[name]
	switch {
	case n == nil && flag&os.O_CREATE == 0, d.names[path.Dir(name)] == nil:
		return nil, notThere("open", name)
	case n != nil && flag&os.O_EXCL != 0:
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrExist}
	case n != nil && !n.mode.IsRegular():
		return nil, &fs.PathError{Op: "open", Path: name, Err: errNotFile}
	case n == nil:
		n = &inode{mode: mode}
		d.names[name] = n
	}
	return &handle{d: d, name: name, n: n}, nil
}

func (d *disk) Mkdir(name string, mode fs.FileMode) error {
	if _, err := d.fails("mkdir", name); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.names[name] != nil {
		return fs.ErrExist
	}
	d.names[name] = &inode{mode: fs.ModeDir | mode}
	return nil
}

func (d *disk) Chmod(name string, mode fs.FileMode) error {
	if _, err := d.fails("chmod", name); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.names[name].mode = fs.ModeDir | mode
	return nil
}

func (d *disk) Lstat(name string) (fs.FileInfo, error) {
	if _, err := d.fails("lstat", name); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if n := d.names[name]; n != nil {
		return &info{path.Base(name), int64(len(n.data)), n.mode, n}, nil
	}
	return nil, notThere("lstat", name)
}

func (d *disk) ReadDir(name string) (entries []fs.DirEntry, err error) {
	if _, err := d.fails("readdir", name); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.names[name] == nil {
		return nil, notThere("readdir", name)
	}
	for p, n := range d.names {
		if p != name && path.Dir(p) == name {
			entries = append(entries, fs.FileInfoToDirEntry(&info{path.Base(p), int64(len(n.data)), n.mode, n}))
		}
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return entries, nil
}

func (d *disk) Rename(from, to string) error {
	if _, err := d.fails("rename", from); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.names[from] == nil {
		return notThere("rename", from)
	}
	d.names[to] = d.names[from]
	delete(d.names, from)
	return nil
}

func (d *disk) Remove(name string) error {
	if _, err := d.fails("remove", name); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.names[name] == nil {
		return notThere("remove", name)
	}
	d.space += int64(len(d.names[name].data))
	delete(d.names, name)
	return nil
}

func (d *disk) SyncDir(name string) error {
	if _, err := d.fails("syncdir", name); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for p := range d.durable {
		if path.Dir(p) == name && d.names[p] == nil {
			delete(d.durable, p)
		}
	}
	for p, n := range d.names {
		if path.Dir(p) == name {
			d.durable[p] = n
		}
	}
	return nil
}

func (d *disk) Free(name string) (int64, error) {
	if _, err := d.fails("free", name); err != nil {
		return 0, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.space, nil
}

func (d *disk) SameFile(a, b fs.FileInfo) bool { return a.Sys() == b.Sys() }
func (d *disk) Foreign(fs.FileInfo) bool       { return false }

// files returns the contents of the regular files in a directory by name.
func (d *disk) files(dir string) map[string]string {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := map[string]string{}
	for p, n := range d.names {
		if path.Dir(p) == dir && n.mode.IsRegular() {
			all[path.Base(p)] = string(n.data)
		}
	}
	return all
}

// put makes a file, durably.
func (d *disk) put(name, data string) {
	for dir := path.Dir(name); d.names[dir] == nil; dir = path.Dir(dir) {
		n := &inode{mode: fs.ModeDir | 0o700}
		d.names[dir], d.durable[dir] = n, n
	}
	n := &inode{mode: 0o600, data: []byte(data), synced: len(data)}
	d.names[name], d.durable[name] = n, n
}

// removeAll removes a directory and what is in it.
func (d *disk) removeAll(dir string) {
	for p := range d.names {
		if p == dir || strings.HasPrefix(p, dir+"/") {
			delete(d.names, p)
		}
	}
}

// handle is an open file.
type handle struct {
	d      *disk
	name   string
	n      *inode
	closed bool
}

func (h *handle) Write(p []byte) (int, error) {
	n, err := h.d.fails("write", h.name)
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	if err == nil {
		n = len(p)
	}
	if n = min(n, len(p)); int64(n) > h.d.space {
		n, err = int(h.d.space), &fs.PathError{Op: "write", Path: h.name, Err: syscall.ENOSPC}
	}
	h.n.data = append(h.n.data, p[:n]...)
	h.d.space -= int64(n)
	return n, err
}

func (h *handle) WriteParts(parts [][]byte) (int, error) { return h.Write(slices.Concat(parts...)) }

func (h *handle) ReadAt(p []byte, off int64) (int, error) {
	if _, err := h.d.fails("read", h.name); err != nil {
		return 0, err
	}
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	n := copy(p, h.n.data[min(off, int64(len(h.n.data))):])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (h *handle) Truncate(size int64) error {
	if _, err := h.d.fails("truncate", h.name); err != nil {
		return err
	}
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	h.d.space += int64(len(h.n.data)) - size
	h.n.data = h.n.data[:size]
	h.n.synced = min(h.n.synced, int(size))
	return nil
}

// StartSync changes nothing: what is durable only Sync decides.
func (h *handle) StartSync() {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	h.d.starts++
}

func (h *handle) Sync() error {
	if _, err := h.d.fails("sync", h.name); err != nil {
		return err
	}
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	h.n.synced = len(h.n.data)
	return nil
}

func (h *handle) SyncBeside() <-chan error {
	done := make(chan error, 1)
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	covered := len(h.n.data)
	end := func() {
		_, err := h.d.fails("sync", h.name)
		h.d.mu.Lock()
		defer h.d.mu.Unlock()
		if err == nil {
			h.n.synced = max(h.n.synced, min(covered, len(h.n.data)))
		}
		done <- err
	}
	h.d.running = append(h.d.running, end)
	if !h.d.later {
		h.d.mu.Unlock()
		h.d.end()
		h.d.mu.Lock()
	}
	return done
}

// end ends what SyncBeside has begun.
func (d *disk) end() (n int) {
	d.mu.Lock()
	running := d.running
	d.running = nil
	d.mu.Unlock()
	for _, end := range running {
		end()
	}
	return len(running)
}

func (h *handle) Chmod(mode fs.FileMode) error {
	if _, err := h.d.fails("fchmod", h.name); err != nil {
		return err
	}
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	h.n.mode = mode
	return nil
}

func (h *handle) Stat() (fs.FileInfo, error) {
	if _, err := h.d.fails("stat", h.name); err != nil {
		return nil, err
	}
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	return &info{path.Base(h.name), int64(len(h.n.data)), h.n.mode, h.n}, nil
}

func (h *handle) Lock() error {
	if _, err := h.d.fails("lock", h.name); err != nil {
		return err
	}
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	switch {
	case h.d.noLocks:
		return errors.ErrUnsupported
	case h.n.owner != nil && h.n.owner != h:
		return ErrLocked
	}
	h.n.owner = h
	return nil
}

func (h *handle) Close() error {
	_, err := h.d.fails("close", h.name)
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	if h.closed {
		panic(fmt.Sprintf("%s is closed twice", h.name))
	}
	h.closed = true
	if h.n.owner == h {
		h.n.owner = nil
	}
	return err
}

// info describes an inode.
type info struct {
	name string
	size int64
	mode fs.FileMode
	n    *inode
}

func (i *info) Name() string       { return i.name }
func (i *info) Size() int64        { return i.size }
func (i *info) Mode() fs.FileMode  { return i.mode }
func (i *info) ModTime() time.Time { return time.Time{} }
func (i *info) IsDir() bool        { return i.mode.IsDir() }
func (i *info) Sys() any           { return i.n }

func randomOf(seed int) *rand.Rand { return rand.New(rand.NewPCG(uint64(seed), 0)) }
