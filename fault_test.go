package aigateway

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"
	"testing"
)

// timeoutError is a deadline of the transport's.
type timeoutError struct{}

func (timeoutError) Error() string   { return "net/http: timeout awaiting response headers" }
func (timeoutError) Timeout() bool   { return true }
func (timeoutError) Temporary() bool { return true }

// opaque hides what err wraps, as Caddy's dialler does.
func opaque(err error) error { return fmt.Errorf("dial backend: %v", err) } //nolint:errorlint // hiding is the point

// TestJudgeError guards the reason that each error of a connection is known by,
// and that all of them blame the instance and move on, but for the gateway's own.
func TestJudgeError(t *testing.T) {
	dial := func(err error) error { return &connectError{&net.OpError{Op: "dial", Net: "tcp", Err: err}} }
	sys := func(call string, no syscall.Errno) error { return os.NewSyscallError(call, no) }
	read := func(err error) error { return &net.OpError{Op: "read", Net: "tcp", Err: err} }
	for _, c := range []struct {
		name string
		err  error
		want reason
	}{
		{"refused", dial(sys("connect", syscall.ECONNREFUSED)), reasonConnect},
		{"unreachable", dial(sys("connect", syscall.EHOSTUNREACH)), reasonConnect},
		{"slow to connect", &connectError{context.DeadlineExceeded}, reasonConnect},
		{"refused, hidden", &connectError{opaque(sys("connect", syscall.ECONNREFUSED))}, reasonConnect},
		{"unknown name", dial(&net.DNSError{Err: "no such host", Name: "a.invalid", IsNotFound: true}), reasonResolve},
		{"name server silent", dial(&net.DNSError{Err: "i/o timeout", Name: "a.invalid", IsTimeout: true}), reasonResolve},
		{"expired", &tls.CertificateVerificationError{Err: x509.CertificateInvalidError{Reason: x509.Expired}}, reasonTLSExpired},
		{"other host", &tls.CertificateVerificationError{Err: x509.HostnameError{Certificate: new(x509.Certificate), Host: "a"}}, reasonTLSName},
		{"unknown authority", &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}, reasonTLSIssuer},
		{"unfit certificate", &tls.CertificateVerificationError{Err: x509.CertificateInvalidError{Reason: x509.TooManyIntermediates}}, reasonTLS},
		{"plain text", tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"}, reasonTLS},
		{"alert", &net.OpError{Op: "remote error", Err: tls.AlertError(40)}, reasonTLS},
		{"no protocol", errors.New("tls: server selected unsupported protocol version 301"), reasonTLS},
		{"transport's handshake timeout", errors.New("net/http: TLS handshake timeout"), reasonTLSTimeout},
		{"header timeout", timeoutError{}, reasonTransport},
		{"reset", read(sys("read", syscall.ECONNRESET)), reasonReset},
		{"broken pipe", &net.OpError{Op: "write", Err: sys("write", syscall.EPIPE)}, reasonReset},
		{"end before the answer", io.EOF, reasonReset},
		{"end in the answer", io.ErrUnexpectedEOF, reasonReset},
		{"closed", net.ErrClosed, reasonReset},
		{"idle closed", errors.New("http: server closed idle connection"), reasonReset},
		{"end in the header", errors.New("net/http: HTTP/1.x transport connection broken: unexpected EOF"), reasonReset},
		{"h2 going away", errors.New("http2: server sent GOAWAY and closed the connection; LastStreamID=1, ErrCode=NO_ERROR"), reasonReset},
		{"h2 refused", errors.New("stream error: stream ID 3; REFUSED_STREAM"), reasonReset},
		{"h2 lost", errors.New("http2: client connection lost"), reasonReset},
		{"garbage", errors.New(`net/http: HTTP/1.x transport connection broken: malformed HTTP response "garbage"`), reasonMalformed},
		{"bad length", errors.New(`bad Content-Length "x"`), reasonMalformed},
		{"bad chunk", errors.New("invalid byte in chunk length"), reasonMalformed},
		{"too many 1xx", errEarly, reasonMalformed},
		{"huge header", errors.New("net/http: server response headers exceeded 10485760 bytes; aborted"), reasonMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, err := range []error{c.err, fmt.Errorf("round trip: %w", c.err)} {
				if got := judgeError(err, t.Context()); got != failure(c.want) {
					t.Errorf("%v: got %+v, want a failure for %s", err, got, c.want)
				}
			}
		})
	}
}

// TestGatewaysOwnErrors guards that no instance is blamed for what the gateway
// lacks or gets wrong (N32), also where the dialler hides the cause, and that
// nobody else is asked, who could not be reached either.
func TestGatewaysOwnErrors(t *testing.T) {
	for _, no := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EADDRNOTAVAIL} {
		cause := &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("socket", no)}
		for _, err := range []error{cause, &connectError{cause}, &connectError{opaque(cause)}} {
			if got, want := judgeError(err, t.Context()), (verdict{outcome: outcomeFailed, reason: reasonResources}); got != want {
				t.Errorf("%v: got %+v, want %+v", err, got, want)
			}
		}
	}
	for _, text := range []string{`net/http: invalid header field value for "X-A"`, `net/http: invalid method "a b"`} {
		if got, want := judgeError(errors.New(text), t.Context()), (verdict{outcome: outcomeFailed, reason: reasonGateway}); got != want {
			t.Errorf("%s: got %+v, want %+v", text, got, want)
		}
	}
}

// TestJudgeDeadline guards that an attempt's own deadline goes before whatever
// error it leads to, and that only the request's as a whole leaves no time for
// another instance.
func TestJudgeDeadline(t *testing.T) {
	for _, why := range []reason{reasonFirstToken, reasonStall, reasonTotal, reasonTLSTimeout} {
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(&deadlineError{why})
		cancel(context.Canceled) // what comes later changes nothing
		for _, err := range []error{context.Canceled, io.ErrUnexpectedEOF, &connectError{context.Canceled}, syscall.EMFILE} {
			want := verdict{outcomeFailed, why, blameInstance, why != reasonTotal}
			if got := judgeError(err, ctx); got != want {
				t.Errorf("%v after deadline %s: got %+v, want %+v", err, why, got, want)
			}
		}
		if got := passed(ctx); got != why {
			t.Errorf("got %q as the deadline that has passed, want %q", got, why)
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(context.Canceled)
	if got := passed(ctx); got != reasonNone {
		t.Errorf("canceled: got %q as the deadline that has passed, want none", got)
	}
}

// TestUnsent guards which failures prove that no engine has worked on the request,
// so that even one over retries.max_body may be sent elsewhere.
func TestUnsent(t *testing.T) {
	want := map[reason]bool{
		reasonConnect: true, reasonResolve: true, reasonTLS: true, reasonTLSTimeout: true,
		reasonTLSExpired: true, reasonTLSName: true, reasonTLSIssuer: true,
	}
	for _, why := range []reason{
		reasonNone, reasonConnect, reasonResolve, reasonTLS, reasonTLSTimeout, reasonTLSExpired, reasonTLSName, reasonTLSIssuer, reasonReset,
		reasonMalformed, reasonFirstToken, reasonStall, reasonTotal, reasonTransport, reasonStatus, reasonRateLimit, reasonOverload, reasonLoading,
		reasonKey, reasonQuota, reasonModel, reasonContext, reasonRedirect, reasonBadAnswer, reasonStream, reasonCut, reasonResources, reasonGateway,
	} {
		if got := why.unsent(); got != want[why] {
			t.Errorf("%s: got %v, want %v", why, got, want[why])
		}
	}
}

// TestErrorForClient guards the status that a client gets when no instance has
// answered (N4, N11, S2, N32).
func TestErrorForClient(t *testing.T) {
	f := func(v verdict, status int, code string) {
		t.Helper()
		if e := v.error(); e.Status != status || e.Code != code {
			t.Errorf("%+v: got status %d %s, want %d %s", v, e.Status, e.Code, status, code)
		}
	}
	f(failure(reasonConnect), http.StatusServiceUnavailable, "upstream_unreachable")
	f(failure(reasonTLSName), http.StatusServiceUnavailable, "upstream_unreachable")
	f(verdict{outcome: outcomeFailed, reason: reasonResources}, http.StatusServiceUnavailable, "gateway_resources")
	f(verdict{outcomeBusy, reasonLoading, leaves, true}, http.StatusServiceUnavailable, "upstream_loading")
	f(verdict{outcomeBusy, reasonOverload, rests, true}, http.StatusServiceUnavailable, "overloaded")
	f(verdict{outcomeBusy, reasonRateLimit, rests, true}, http.StatusTooManyRequests, "rate_limited")
	f(verdict{outcomeMisconfigured, reasonKey, leaves, true}, http.StatusBadGateway, "upstream_refused")
	f(verdict{outcomeMisconfigured, reasonQuota, rests, true}, http.StatusBadGateway, "upstream_refused")
	for _, why := range []reason{reasonFirstToken, reasonStall, reasonTotal, reasonTransport} {
		f(failure(why), http.StatusGatewayTimeout, "upstream_timeout")
	}
	for _, why := range []reason{reasonReset, reasonMalformed, reasonStatus, reasonRedirect, reasonBadAnswer, reasonStream} {
		f(failure(why), http.StatusBadGateway, "upstream_error")
	}
}
