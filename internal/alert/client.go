package alert

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	sendTimeout = 10 * time.Second
	maxAnswer   = 64 << 10 // bytes of a receiver's answer that are read
	// tooFast is how long a receiver rests that says "too many requests" and not for
	// how long.
	tooFast = time.Minute
	longest = 24 * time.Hour // that a receiver can ask for
)

// failure is why a message did not arrive. Its text holds no URL.
type failure struct {
	text      string
	err       error
	permanent bool          // to try again is of no use
	rest      time.Duration // that the receiver asked for, or 0
}

func (f *failure) Error() string {
	if f.err != nil {
		return f.text + ": " + f.err.Error()
	}
	return f.text
}

func (f *failure) Unwrap() error { return f.err }

// refused returns a failure that trying again does not mend.
func refused(format string, args ...any) *failure {
	return &failure{text: fmt.Sprintf(format, args...), permanent: true}
}

// newClient returns the client for all receivers. It follows no redirect: a POST
// that is turned into a GET would look as if it had arrived.
func newClient() *http.Client {
	dialer := &net.Dialer{Timeout: sendTimeout}
	return &http.Client{
		Timeout: sendTimeout,
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, DialContext: dialer.DialContext, ForceAttemptHTTP2: true,
			TLSHandshakeTimeout: sendTimeout, ResponseHeaderTimeout: sendTimeout, IdleConnTimeout: 30 * time.Second,
			MaxIdleConnsPerHost: 1, MaxResponseHeaderBytes: maxAnswer,
		},
		CheckRedirect: noRedirects,
	}
}

func noRedirects(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// answer is what a receiver said.
type answer struct {
	status int
	header http.Header
	body   []byte // of at most maxAnswer bytes
}

func (a *answer) String() string { return "HTTP " + strconv.Itoa(a.status) }

// post sends body as JSON, or as a form if it is url.Values, and returns the answer
// if its status is 2xx.
func post(ctx context.Context, client *http.Client, endpoint string, header http.Header, body any) (*answer, error) {
	var payload []byte
	contentType := "application/json; charset=utf-8"
	if form, ok := body.(url.Values); ok {
		payload, contentType = []byte(form.Encode()), "application/x-www-form-urlencoded"
	} else {
		var buf bytes.Buffer
		encoder := json.NewEncoder(&buf)
		encoder.SetEscapeHTML(false) // \u003c would cost six bytes of what robots allow
		if err := encoder.Encode(body); err != nil {
			return nil, &failure{text: "encoding the message", err: err, permanent: true}
		}
		payload = buf.Bytes()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, bytes.NewReader(payload))
	if err != nil {
		return nil, refused("the receiver's address is no URL")
	}
	maps.Copy(req.Header, header)
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("User-Agent", "caddy-ai-gateway")
	resp, err := client.Do(req)
	if err != nil {
		if u := (*url.Error)(nil); errors.As(err, &u) {
			err = u.Err // the URL holds the token
		}
		return nil, &failure{text: "sending to " + req.URL.Host, err: err}
	}
	defer resp.Body.Close()
	a := &answer{status: resp.StatusCode, header: resp.Header}
	a.body, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if resp.StatusCode/100 != 2 {
		return a, statusFailure(a)
	}
	if err != nil {
		return a, &failure{text: "reading the answer of " + req.URL.Host, err: err}
	}
	return a, nil
}

// statusFailure returns the failure that a status other than 2xx is.
func statusFailure(a *answer) *failure {
	f := &failure{text: a.String()}
	if text := shorten(oneLine(string(a.body)), 200); text != "" {
		f.text += ": " + text
	}
	switch {
	case a.status == http.StatusTooManyRequests:
		f.rest = retryAfter(a.header.Get("Retry-After"))
	case a.status == http.StatusServiceUnavailable && a.header.Get("Retry-After") != "":
		f.rest = retryAfter(a.header.Get("Retry-After"))
	case a.status/100 == 3:
		f.text, f.permanent = a.String()+": redirects are not followed", true
	case a.status/100 == 4 && a.status != http.StatusRequestTimeout && a.status != http.StatusTooEarly:
		f.permanent = true
	}
	return f
}

// retryAfter reads the header of that name: seconds, also broken ones as Discord
// sends, or a date.
func retryAfter(value string) time.Duration {
	if seconds, err := strconv.ParseFloat(strings.TrimSpace(value), 64); err == nil && seconds >= 0 {
		return time.Duration(min(seconds*float64(time.Second), float64(longest)))
	}
	if at, err := http.ParseTime(value); err == nil {
		return min(max(time.Until(at), time.Second), longest)
	}
	return tooFast
}

// verdict reads success from the body of a robot that answers 200 either way. The
// code stands in the first of the members that is there, and good is success; rests
// says how long to rest after some codes.
func verdict(a *answer, good int64, codes, texts []string, rests map[int64]time.Duration) (string, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(a.body, &members); err != nil {
		return "", &failure{text: a.String() + ", but the answer is no JSON object"}
	}
	for _, name := range codes {
		var code json.Number
		if raw, ok := members[name]; !ok || json.Unmarshal(raw, &code) != nil {
			continue
		}
		said := fmt.Sprintf("%s, %s %s", a, name, shorten(oneLine(code.String()), 20))
		n, err := code.Int64()
		if err == nil && n == good {
			return said, nil
		}
		for _, text := range texts {
			var s string
			if json.Unmarshal(members[text], &s) == nil && s != "" {
				said += ": " + shorten(oneLine(s), 200)
				break
			}
		}
		return "", &failure{text: said, rest: rests[n]}
	}
	return "", &failure{text: fmt.Sprintf("%s, but the answer holds no %s", a, codes[0])}
}
