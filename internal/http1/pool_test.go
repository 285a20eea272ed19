package http1

import (
	"net"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// plug is a connection that nothing goes over. What looking at it finds is the test's
// business.
type plug struct {
	net.Conn
	closed int
}

func (p *plug) Close() error {
	p.closed++
	return nil
}

func (p *plug) SyscallConn() (syscall.RawConn, error) { return lookable{}, nil }

type lookable struct{ syscall.RawConn }

func (lookable) Control(look func(uintptr)) error {
	look(0)
	return nil
}

// pooled is a connection as the model of the pool sees it.
type pooled struct {
	*conn
	plug    *plug
	host    *host
	spoken  bool          // it has something to say, or is at its end
	waiting time.Duration // without a request
}

// poolModel says what [Transport] shall have done with its connections.
type poolModel struct {
	t      *Transport
	hosts  []*host
	idle   map[*host][]*pooled // the one used last at the end
	busy   []*pooled
	all    map[*conn]*pooled
	closed bool
}

func (m *poolModel) count() int {
	n := 0
	for _, list := range m.idle {
		n += len(list)
	}
	return n
}

// take asks for a connection of a host. It must be the one used last that is open and
// has not waited too long; those passed over must be closed.
func (m *poolModel) take(t *rapid.T) {
	h := rapid.SampledFrom(m.hosts).Draw(t, "host")
	var want *pooled
	for list := m.idle[h]; want == nil && len(list) > 0; list = m.idle[h] {
		last := list[len(list)-1]
		m.idle[h] = list[:len(list)-1]
		if !last.spoken && last.waiting < m.t.IdleTimeout {
			want = last
		} else {
			delete(m.all, last.conn)
			defer m.wantClosed(t, last, 1)
		}
	}
	c := h.open(m.t)
	switch {
	case c == nil && want == nil:
		p := &pooled{plug: new(plug), host: h}
		p.conn = newConn(m.t, h, p.plug)
		p.look = func(uintptr) { p.pending = p.spoken }
		m.all[p.conn] = p
		m.busy = append(m.busy, p)
	case c == nil || want == nil || c != want.conn:
		t.Fatalf("got connection %p, want %v", c, want)
	case !c.kept:
		t.Fatal("connection does not know that it was kept")
	default:
		m.busy = append(m.busy, want)
	}
}

// put gives one back.
func (m *poolModel) put(t *rapid.T) {
	if len(m.busy) == 0 {
		t.Skip("none is busy")
	}
	i := rapid.IntRange(0, len(m.busy)-1).Draw(t, "which")
	p := m.busy[i]
	m.busy = append(m.busy[:i], m.busy[i+1:]...)
	p.waiting = 0
	limit, each := m.t.MaxIdle, m.t.MaxIdlePerHost
	kept := !m.closed && (limit == 0 || m.count() < limit) && (each == 0 || len(m.idle[p.host]) < each)
	if kept {
		m.idle[p.host] = append(m.idle[p.host], p)
	} else {
		delete(m.all, p.conn)
	}
	m.t.keep(p.conn)
	if !kept {
		m.wantClosed(t, p, 1)
	}
}

// wait lets time pass, and sweep.
func (m *poolModel) wait(t *rapid.T) {
	passed := time.Duration(rapid.IntRange(1, 40).Draw(t, "minutes")) * time.Minute
	for h, list := range m.idle {
		var young []*pooled
		for _, p := range list {
			p.waiting += passed
			p.since = p.since.Add(-passed)
			if p.waiting >= m.t.IdleTimeout {
				delete(m.all, p.conn)
				defer m.wantClosed(t, p, 1)
			} else {
				young = append(young, p)
			}
		}
		m.idle[h] = young
	}
	m.t.sweep()
}

// speak makes a connection that waits unfit.
func (m *poolModel) speak(t *rapid.T) {
	list := m.idle[rapid.SampledFrom(m.hosts).Draw(t, "host")]
	if len(list) == 0 {
		t.Skip("none waits")
	}
	rapid.SampledFrom(list).Draw(t, "which").spoken = true
}

// shut is CloseIdle, which few runs come to.
func (m *poolModel) shut(t *rapid.T) {
	if rapid.IntRange(0, 9).Draw(t, "really") > 0 {
		t.Skip("not yet")
	}
	m.closed = true
	for h, list := range m.idle {
		for _, p := range list {
			delete(m.all, p.conn)
			defer m.wantClosed(t, p, 1)
		}
		m.idle[h] = nil
	}
	m.t.CloseIdle()
}

func (m *poolModel) wantClosed(t *rapid.T, p *pooled, want int) {
	if p.plug.closed != want {
		t.Fatalf("connection is closed %d times, want %d", p.plug.closed, want)
	}
}

// check compares what waits, and that nothing in use or waiting is closed.
func (m *poolModel) check(t *rapid.T) {
	if got, want := m.t.idle.Load(), int64(m.count()); got != want {
		t.Fatalf("%d are counted, want %d", got, want)
	}
	for _, h := range m.hosts {
		if len(h.idle) != len(m.idle[h]) {
			t.Fatalf("%d wait, want %d", len(h.idle), len(m.idle[h]))
		}
		for i, p := range m.idle[h] {
			if h.idle[i] != p.conn {
				t.Fatalf("connection %d of those that wait is another's", i)
			}
		}
	}
	for _, p := range m.all {
		m.wantClosed(t, p, 0)
	}
}

// TestPool guards over random orders of events that a connection waits or serves, never
// both, that the limits hold, and that what is given up is closed once.
func TestPool(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &poolModel{
			t: &Transport{
				MaxIdle: rapid.IntRange(0, 6).Draw(t, "MaxIdle"), MaxIdlePerHost: rapid.IntRange(0, 4).Draw(t, "MaxIdlePerHost"),
				IdleTimeout: time.Hour,
			},
			idle: make(map[*host][]*pooled), all: make(map[*conn]*pooled),
		}
		m.hosts = []*host{m.t.host("a:80"), m.t.host("b:80")}
		if m.t.host("a:80") != m.hosts[0] {
			t.Fatal("an address has two hosts")
		}
		t.Repeat(map[string]func(*rapid.T){"take": m.take, "put": m.put, "wait": m.wait, "speak": m.speak, "shut": m.shut, "": m.check})
	})
}
