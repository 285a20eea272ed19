package aigateway

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// doctor asks instances directly. It follows no redirect and uses no proxy, as the
// gateway does by default.
type doctor struct {
	timeout time.Duration
	asks    bool           // requests of one token too
	roots   *x509.CertPool // nil for the system's
}

// visit is one instance's examination.
type visit struct {
	*doctor
	*instance
	examined
	client  *http.Client
	secrets []string // that no text may show
}

const (
	// maxSkew is how wrong a clock may be: the gateway reads the dates of Retry-After.
	maxSkew = time.Minute
	// soon is how long before its end a certificate is called old.
	soon = 14 * 24 * time.Hour
	// maxProbe bounds what is read of an answer.
	maxProbe = 4 << 20
)

// visit makes all checks of i.
func (d *doctor) visit(ctx context.Context, i *instance) examined {
	v := &visit{doctor: d, instance: i, examined: examined{
		ID: i.id, Name: i.name, Address: i.place(), Model: i.model, Tier: i.tier.String(), Well: true,
	}}
	v.secrets = append(v.secrets, i.key)
	for _, values := range i.headers {
		v.secrets = append(v.secrets, values...)
	}
	transport := &http.Transport{DialContext: v.dial, TLSClientConfig: d.tls(), ForceAttemptHTTP2: true, TLSHandshakeTimeout: d.timeout}
	defer transport.CloseIdleConnections()
	v.client = &http.Client{
		Transport: transport, Timeout: d.timeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	if v.reach(ctx) {
		v.models(ctx)
		v.health(ctx)
		if d.asks {
			v.dialects(ctx)
		}
	} else {
		v.tell("key, model, health", skipped, "not asked")
	}
	return v.examined
}

// dial connects to the instance, whatever stands in the URL.
func (v *visit) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, network, v.upstream.Dial)
}

// tell notes a finding, without the secrets that a server may have repeated.
func (v *visit) tell(check string, result mark, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	for _, secret := range v.secrets {
		if len(secret) >= 4 { // a shorter one is part of any text
			text = strings.ReplaceAll(text, secret, "***")
		}
	}
	v.Well = v.Well && result != bad
	v.Checks = append(v.Checks, finding{check, result, text})
}

func (d *doctor) tls() *tls.Config {
	return &tls.Config{RootCAs: d.roots, MinVersion: tls.VersionTLS12}
}

// reach checks name, connection and TLS, and reports whether requests make sense.
func (v *visit) reach(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, v.timeout)
	defer cancel()
	host, _, _ := net.SplitHostPort(v.upstream.Dial) // made by net.JoinHostPort
	if net.ParseIP(host) == nil {
		addresses, err := net.DefaultResolver.LookupHost(ctx, host)
		if err != nil {
			v.tell("name", bad, "%s does not resolve: %s", host, cause(err))
			return false
		}
		v.tell("name", good, "%s is %s", host, strings.Join(addresses[:min(len(addresses), 3)], ", "))
	}
	begun := time.Now()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", v.upstream.Dial)
	if err != nil {
		v.tell("connect", bad, "%s: %s", v.upstream.Dial, cause(err))
		return false
	}
	defer conn.Close() //nolint:errcheck // nothing was sent
	v.tell("connect", good, "%s in %v", v.upstream.Dial, time.Since(begun).Round(10*time.Microsecond))
	if v.scheme != "https" {
		v.tell("tls", skipped, "the url is http")
		return true
	}
	config := v.tls()
	config.ServerName = strings.Trim(hostname(v.host), "[]")
	secured := tls.Client(conn, config)
	if err := secured.HandshakeContext(ctx); err != nil {
		v.tell("tls", bad, "%s; authorities that the Caddyfile's transport trusts are given by --ca", cause(err))
		return false
	}
	end := secured.ConnectionState().PeerCertificates[0].NotAfter
	left := time.Until(end)
	if left < soon {
		v.tell("tls", bad, "the certificate ends in %.0f days, on %s", math.Floor(left.Hours()/24), end.Format(time.DateOnly))
		return true
	}
	v.tell("tls", good, "the certificate is valid until %s", end.Format(time.DateOnly))
	return true
}

// hostname is a URL's host without its port.
func hostname(host string) string { return (&url.URL{Host: host}).Hostname() }

// cause is the innermost text of an error: those around it repeat the address.
func cause(err error) string {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err.Error()
		}
		err = inner
	}
}

// reaction is what an instance answers.
type reaction struct {
	status int
	date   string // of its clock
	text   []byte
}

// get asks for a path of the instance's server.
func (v *visit) get(ctx context.Context, path string) (reaction, error) {
	return v.send(ctx, http.MethodGet, path, openAI, nil)
}

func (v *visit) send(ctx context.Context, method, path string, d dialect, body io.Reader) (reaction, error) {
	path, query, _ := strings.Cut(path, "?")
	u := url.URL{Scheme: v.scheme, Host: v.host, Path: path, RawQuery: query}
	r, err := http.NewRequestWithContext(ctx, method, u.String(), body)
	if err != nil {
		return reaction{}, err
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if v.authorization != "" {
		r.Header.Set("Authorization", v.authorization)
	}
	if d == anthropic {
		r.Header.Set("Anthropic-Version", "2023-06-01")
		if v.key != "" {
			r.Header.Set("X-Api-Key", v.key)
		}
	}
	maps.Copy(r.Header, v.headers)
	res, err := v.client.Do(r)
	if err != nil {
		return reaction{}, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, maxProbe))
	return reaction{res.StatusCode, res.Header.Get("Date"), text}, err
}
