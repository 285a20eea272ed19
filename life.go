package aigateway

import (
	"context"
	"io"
	"sync"
)

// life is the context of an attempt that [http1.Transport] makes. It ends with the
// client's request, when the watchdog says so, and with the attempt. Contexts of the
// standard library would do as well, with three objects each for the watchdog and for
// the connection that is to be closed.
type life struct {
	context.Context // of the client's request
	attempt         *attempt

	mu     sync.Mutex
	cause  error         // why it has ended; guarded by mu, as all below
	tied   io.Closer     // the connection, or nil
	done   chan struct{} // nil until somebody asks
	forget func() bool   // the client's request
}

// begin makes l a context below parent.
func (l *life) begin(parent context.Context, a *attempt) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.Context, l.attempt = parent, a
	l.forget = context.AfterFunc(parent, l.orphan)
}

func (l *life) orphan() { l.end(context.Cause(l.Context)) }

// end ends l, the first time it is called.
func (l *life) end(cause error) {
	l.mu.Lock()
	if l.cause != nil {
		l.mu.Unlock()
		return
	}
	l.cause = cause
	tied, forget := l.tied, l.forget
	l.tied, l.forget = nil, nil
	if l.done != nil {
		close(l.done)
	}
	l.mu.Unlock()
	if tied != nil {
		tied.Close() // whoever uses it finds out
	}
	forget()
}

// Cause is why l has ended, nil if it has not.
func (l *life) Cause() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cause != nil {
		return l.cause
	}
	return context.Cause(l.Context) // before orphan can tell
}

// Err is as [context.Context] asks for it.
func (l *life) Err() error {
	if l.Cause() != nil {
		return context.Canceled
	}
	return nil
}

// Done is as [context.Context] asks for it.
func (l *life) Done() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.done == nil {
		l.done = make(chan struct{})
		if l.cause != nil {
			close(l.done)
		}
	}
	return l.done
}

// Value is as [context.Context] asks for it.
func (l *life) Value(key any) any {
	if key == (attemptKey{}) {
		return l.attempt
	}
	return l.Context.Value(key)
}

// Tie is for [http1.Transport].
func (l *life) Tie(c io.Closer) {
	l.mu.Lock()
	over := l.cause != nil
	if !over {
		l.tied = c
	}
	l.mu.Unlock()
	if over {
		c.Close() // whoever uses it finds out
	}
}

// Untie is for [http1.Transport].
func (l *life) Untie(c io.Closer) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.tied != c {
		return false
	}
	l.tied = nil
	return true
}

// causeOf is [context.Cause], also of a life.
func causeOf(ctx context.Context) error {
	if l, ok := ctx.(*life); ok {
		return l.Cause()
	}
	return context.Cause(ctx)
}
