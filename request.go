package aigateway

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/splice"
)

const (
	// maxDepth bounds the nesting of a request's JSON; the API's own shapes,
	// tool schemas included, stay far below.
	maxDepth = 256
	// maxModelName bounds a model's name in bytes.
	maxModelName = 1024
)

// ask is what the gateway reads of a request.
type ask struct {
	model  string // "" if the request names none
	stream bool   // the answer is wanted as a stream
	form   askForm
	place  splice.Value // of the model's value in the body

	longest       splice.Value // the place of the longest string of a JSON body
	streamOptions splice.Value // the place of that member's value in a JSON body
}

// askForm says where a request names its model.
type askForm uint8

const (
	askQuery askForm = iota // ?model=, of requests without a body and of upgrades
	askJSON
	askMultipart
	askOpaque // a body that the gateway does not read
)

// readAsk reads the body of r and the model that it names. The caller releases
// the body, which is not nil when the error is.
func readAsk(r *http.Request, limit int64) (ask, *body, *apiError) {
	if encoding := strings.Join(r.Header["Content-Encoding"], ", "); encoding != "" && !strings.EqualFold(encoding, "identity") {
		return ask{}, nil, &apiError{
			Status: http.StatusUnsupportedMediaType, Type: "invalid_request_error", Code: "unsupported_content_encoding",
			Message: "got a request body with Content-Encoding " + quote(encoding) + ", want it without",
		}
	}
	if types := r.Header["Content-Type"]; len(types) > 1 && slices.ContainsFunc(types, func(t string) bool { return t != types[0] }) {
		return ask{}, nil, badRequest("duplicate_header", "", "header Content-Type is given twice")
	}
	if isUpgrade(r) {
		b := &body{arrived: clock()}
		b.refs.Store(1)
		a, err := readQuery(r)
		return a, b, err
	}
	b, err := readBody(r, limit)
	if err != nil {
		return ask{}, nil, bodyError(err, r, limit)
	}
	b.arrived = clock()
	a, apiErr := readModel(r, b.bytes)
	if apiErr != nil {
		b.release()
		return ask{}, nil, apiErr
	}
	return a, b, nil
}

// readModel finds the model in whichever form the request has.
func readModel(r *http.Request, body []byte) (ask, *apiError) {
	if len(body) == 0 && !wantsBody(r) {
		return readQuery(r)
	}
	contentType := r.Header.Get("Content-Type")
	if contentType == "application/json" { // as nearly all clients say
		return readJSON(body)
	}
	media, params, err := mime.ParseMediaType(contentType)
	if strings.HasPrefix(media, "multipart/") {
		if !takesForm(r.URL.Path) {
			return ask{}, &apiError{
				Status: http.StatusUnsupportedMediaType, Type: "invalid_request_error", Code: "unsupported_content_type",
				Message: "got a multipart body, want JSON",
			}
		}
		return readForm(body, params["boundary"])
	}
	// A declared type that is not JSON is believed only where the body does not
	// look like it: clients such as curl -d call every body a form.
	json := contentType == "" || err != nil || strings.HasSuffix(media, "json") || media == "application/x-www-form-urlencoded"
	if !json && !looksLikeObject(body) {
		a, apiErr := readQuery(r)
		a.form = askOpaque
		return a, apiErr
	}
	return readJSON(body)
}

func readJSON(body []byte) (ask, *apiError) {
	var found [3]splice.Value
	longest, err := splice.ScanLongest(body, maxDepth, askMembers, found[:])
	if err != nil {
		if duplicate, ok := errors.AsType[*splice.DuplicateError](err); ok {
			return ask{}, badRequest("duplicate_member", duplicate.Name, err.Error())
		}
		return ask{}, badRequest("invalid_json", "", "invalid JSON body: "+err.Error())
	}
	a := ask{
		form: askJSON, place: found[0], stream: string(found[1].Raw(body)) == "true", longest: longest, streamOptions: found[2],
	}
	switch a.place.Kind(body) {
	case "nothing", "null":
		return a, nil
	case "a string":
		var valid bool
		if a.model, valid = a.place.Text(body); !valid {
			return ask{}, badRequest("invalid_json", "model", "model: got a string with an invalid escape or a control character")
		}
		return a, checkModel(a.model)
	default:
		return ask{}, badRequest("invalid_type", "model", "model: got "+a.place.Kind(body)+", want a string")
	}
}

var askMembers = []string{"model", "stream", "stream_options"}

func readForm(body []byte, boundary string) (ask, *apiError) {
	place, err := splice.Field(body, boundary, "model")
	if err != nil {
		if duplicate, ok := errors.AsType[*splice.DuplicateError](err); ok {
			return ask{}, badRequest("duplicate_member", duplicate.Name, err.Error())
		}
		return ask{}, badRequest("invalid_form", "", "invalid multipart body: "+err.Error())
	}
	if !place.Found() {
		return ask{form: askMultipart}, nil
	}
	a := ask{form: askMultipart, place: place, model: string(place.Raw(body))}
	return a, checkModel(a.model)
}

func readQuery(r *http.Request) (ask, *apiError) {
	if !strings.Contains(r.URL.RawQuery, "model") && !strings.Contains(r.URL.RawQuery, "%") {
		return ask{}, nil
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return ask{}, badRequest("invalid_query", "", "invalid query string")
	}
	values := query["model"]
	if len(values) > 1 {
		return ask{}, badRequest("duplicate_member", "model", `query parameter "model" is given twice`)
	}
	if len(values) == 0 {
		return ask{}, nil
	}
	return ask{model: values[0]}, checkModel(values[0])
}

func checkModel(model string) *apiError {
	if model == "" {
		return badRequest("invalid_value", "model", "model: got an empty string, want a model's name")
	}
	if len(model) > maxModelName {
		return badRequest("invalid_value", "model", fmt.Sprintf("model: got a name of %d bytes, want at most %d", len(model), maxModelName))
	}
	return nil
}

// bodyError words a failure to read the body. A client that went away is told
// too; it does no harm.
func bodyError(err error, r *http.Request, limit int64) *apiError {
	if errors.Is(err, errBodyTooLarge) {
		got := "more"
		if r.ContentLength > 0 {
			got = strconv.FormatInt(r.ContentLength, 10) + " bytes"
		}
		return &apiError{
			Status: http.StatusRequestEntityTooLarge, Type: "invalid_request_error", Code: "request_too_large",
			Message: fmt.Sprintf("request body is too large: got %s, want at most %d bytes", got, limit),
		}
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return &apiError{
			Status: http.StatusRequestTimeout, Type: "invalid_request_error", Code: "request_timeout",
			Message: "request body did not arrive in time",
		}
	}
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return badRequest("incomplete_body", "", "request body ended before its declared length")
	}
	return badRequest("unreadable_body", "", "request body could not be read")
}

// isUpgrade reports whether r asks to leave HTTP, as a WebSocket does, also over
// HTTP/2 (RFC 8441) and HTTP/3 (RFC 9220).
func isUpgrade(r *http.Request) bool {
	if r.Method == http.MethodConnect {
		return r.ProtoMajor >= 2
	}
	return r.Method == http.MethodGet && r.ContentLength == 0 && r.Header.Get("Upgrade") != "" &&
		httpguts.HeaderValuesContainsToken(r.Header["Connection"], "Upgrade")
}

// wantsBody reports whether a request of this method without a body is a
// mistake of the client.
func wantsBody(r *http.Request) bool {
	return r.Method == http.MethodPost && r.Header.Get("Content-Type") != ""
}

// takesForm reports whether the API at path takes files.
func takesForm(path string) bool {
	first, _, _ := strings.Cut(strings.TrimPrefix(path, "/v1/"), "/")
	return slices.Contains([]string{"audio", "containers", "evals", "files", "images", "uploads", "vector_stores", "videos"}, first)
}

func looksLikeObject(body []byte) bool {
	for _, c := range body {
		if c != ' ' && c != '\t' && c != '\r' && c != '\n' {
			return c == '{'
		}
	}
	return false
}
