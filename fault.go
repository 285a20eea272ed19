package aigateway

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
)

// connectError is returned by the dialler for a connection that could not be
// opened.
type connectError struct{ cause error }

func (e *connectError) Error() string { return e.cause.Error() }
func (e *connectError) Unwrap() error { return e.cause }

// deadlineError is the cause of an attempt's end by one of its deadlines.
type deadlineError struct{ why reason }

func (e *deadlineError) Error() string { return "deadline " + string(e.why) + " has passed" }

// judgeError judges an attempt that ended in err, before or after the answer
// began. Ctx is the attempt's; its cause tells deadlines apart.
func judgeError(err error, ctx context.Context) verdict {
	switch why := passed(ctx); why {
	case reasonNone:
	case reasonShutdown:
		return verdict{outcome: outcomeShutdown, reason: why}
	default:
		v := failure(why)
		// There is no time left for another instance.
		v.elsewhere = why != reasonTotal
		if errors.Is(causeOf(ctx), errLate) {
			v.blame = blameNobody
		}
		return v
	}
	text := err.Error()
	// Caddy's dialler hides what it wraps from errors.Is, so the words must do.
	for _, own := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EADDRNOTAVAIL} {
		if errors.Is(err, own) || strings.HasSuffix(text, own.Error()) {
			return verdict{outcome: outcomeFailed, reason: reasonResources}
		}
	}
	if why := tlsReason(err); why != reasonNone {
		return failure(why)
	}
	if _, ok := errors.AsType[*connectError](err); ok {
		if strings.Contains(text, "lookup ") {
			return failure(reasonResolve)
		}
		return failure(reasonConnect)
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return failure(reasonTransport)
	}
	for _, reset := range []error{syscall.ECONNRESET, syscall.EPIPE, io.EOF, io.ErrUnexpectedEOF, net.ErrClosed} {
		if errors.Is(err, reset) {
			return failure(reasonReset)
		}
	}
	for _, reset := range []string{
		"server closed idle connection", "transport connection broken: unexpected EOF",
		"GOAWAY", "REFUSED_STREAM", "client connection lost", "stream error",
	} {
		if strings.Contains(text, reset) {
			return failure(reasonReset)
		}
	}
	if strings.Contains(text, "invalid header field") || strings.Contains(text, "invalid method") {
		return verdict{outcome: outcomeFailed, reason: reasonGateway}
	}
	return failure(reasonMalformed)
}

// passed returns which deadline has ended the attempt of ctx, or none.
func passed(ctx context.Context) reason {
	if deadline, ok := errors.AsType[*deadlineError](causeOf(ctx)); ok {
		return deadline.why
	}
	return reasonNone
}

// tlsReason returns why a TLS handshake failed, or none.
func tlsReason(err error) reason {
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok && invalid.Reason == x509.Expired {
		return reasonTLSExpired
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return reasonTLSName
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return reasonTLSIssuer
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return reasonTLS
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return reasonTLS
	}
	if _, ok := errors.AsType[tls.AlertError](err); ok {
		return reasonTLS
	}
	text := err.Error()
	switch {
	case strings.Contains(text, "TLS handshake") && strings.Contains(text, "timeout"):
		return reasonTLSTimeout
	case strings.Contains(text, "tls: "):
		return reasonTLS
	}
	return reasonNone
}

// unsent reports whether nothing of the request can have been worked on, so that
// another instance costs no engine's time twice.
func (r reason) unsent() bool {
	switch r {
	case reasonConnect, reasonResolve, reasonTLS, reasonTLSTimeout, reasonTLSExpired, reasonTLSName, reasonTLSIssuer:
		return true
	default:
		return false
	}
}
