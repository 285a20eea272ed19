package aigateway

import (
	"bytes"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// minSecret is how long a key or header of the file is at least to be looked for in
// answers, in bytes: shorter ones, such as EMPTY, are words.
const minSecret = 12

var (
	redacted = []byte("[redacted]")
	// errorMark ends the names and types of errors in all dialects.
	errorMark = []byte(`rror"`)
)

// secretsOf returns what no answer may tell of an instance's key and headers.
func secretsOf(c *InstanceConfig) (secrets [][]byte) {
	add := func(text string) {
		for _, scheme := range []string{"Bearer ", "Basic "} {
			text = strings.TrimPrefix(text, scheme)
		}
		if len(text) >= minSecret {
			secrets = append(secrets, []byte(text))
		}
	}
	add(c.APIKey)
	for _, value := range c.Headers {
		add(value)
	}
	return secrets
}

// masked returns the text of an error without what it should not tell: keys and headers
// of the instance, the keys that the client has sent, and a private instance's address.
// It changes nothing of text.
func (a *attempt) masked(text []byte) []byte {
	i := a.instance
	for _, secret := range i.secrets {
		text = replaced(text, secret)
	}
	for _, secret := range clientSecrets(a.exchange.request) {
		text = replaced(text, secret)
	}
	if i.tier == primary {
		text = replaced(text, []byte(i.host))
		if i.config.address != "" {
			text = replaced(text, []byte(i.config.address))
		}
	}
	return text
}

// replaced returns text with redacted for every what; text itself if there is none.
func replaced(text, what []byte) []byte {
	if !bytes.Contains(text, what) {
		return text
	}
	return bytes.ReplaceAll(text, what, redacted)
}

// clientSecrets returns the keys that a client may have sent: in the fields that the
// APIs use, and in parameters of the query that sound like it.
func clientSecrets(r *http.Request) (secrets [][]byte) {
	add := func(text string) {
		if len(text) >= minSecret {
			secrets = append(secrets, []byte(text))
		}
	}
	for _, name := range []string{"Authorization", "X-Api-Key", "Api-Key"} {
		for _, value := range r.Header[name] {
			add(strings.TrimPrefix(value, "Bearer "))
		}
	}
	if key, ok := protocolKey(r.Header); ok {
		add(key)
	}
	for value := range querySecrets(r.URL.RawQuery) {
		add(value)
		if decoded, err := url.QueryUnescape(value); err == nil && decoded != value {
			add(decoded)
		}
	}
	return secrets
}

// querySecrets yields the values of parameters whose names sound like a key's.
func querySecrets(query string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for parameter := range strings.SplitSeq(query, "&") {
			name, value, _ := strings.Cut(parameter, "=")
			name = strings.ToLower(name)
			if (strings.Contains(name, "key") || strings.Contains(name, "token")) && value != "" && !yield(value) {
				return
			}
		}
	}
}

// secretQuery reports whether a query has such a parameter.
func secretQuery(query string) bool {
	if query != "" {
		for range querySecrets(query) {
			return true
		}
	}
	return false
}

// maskHeader drops fields of an answer that tell a secret of the instance, or a key of
// the client that the instance has got: logs may have them.
func (a *attempt) maskHeader(h http.Header) {
	secrets := a.instance.secrets
	if a.instance.authorization == "" {
		secrets = slices.Concat(secrets, clientSecrets(a.exchange.request))
	}
	for _, secret := range secrets {
		for name, values := range h {
			if slices.ContainsFunc(values, func(value string) bool { return strings.Contains(value, string(secret)) }) {
				delete(h, name)
			}
		}
	}
}

// maskBody takes the whole body of an error that the client gets, or its beginning.
func (a *attempt) maskBody(res *http.Response, text []byte) []byte {
	masked := a.masked(text)
	if more := len(masked) - len(text); more != 0 && res.ContentLength >= 0 {
		res.ContentLength += int64(more)
		res.Header.Set("Content-Length", strconv.FormatInt(res.ContentLength, 10))
	}
	return masked
}
