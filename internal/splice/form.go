package splice

import (
	"bytes"
	"fmt"
	"mime"
	"strings"
)

// maxPartHeader bounds the header of one part of a form, in bytes.
const maxPartHeader = 16 << 10

// Field finds the plain field name of the multipart form body (RFC 7578) with
// the given boundary. The Value spans the field's bytes as they stand, without
// quotes; it is the zero Value where the form has no such field, and files are
// never taken for fields. Errors are *[Error] and *[DuplicateError].
func Field(body []byte, boundary, name string) (Value, error) {
	var field Value
	dashes := []byte("--" + boundary)
	if boundary == "" || len(boundary) > 70 {
		return field, &Error{0, "multipart boundary is missing or longer than 70 bytes"}
	}
	i := 0
	if !bytes.HasPrefix(body, dashes) {
		if i = next(body, 0, dashes); i < 0 {
			return field, &Error{0, "multipart form has no part"}
		}
	}
	for {
		i += len(dashes)
		if bytes.HasPrefix(body[i:], []byte("--")) {
			return field, nil
		}
		eol := bytes.Index(body[i:], []byte("\r\n"))
		if eol < 0 || len(bytes.Trim(body[i:i+eol], " \t")) > 0 {
			return field, &Error{i, "multipart delimiter is followed by text"}
		}
		i += eol + 2
		header, data, err := partHeader(body, i)
		if err != nil {
			return field, err
		}
		end := next(body, data-2, dashes) // an empty part's data is its delimiter's own line end
		if end < 0 {
			return field, &Error{data, "multipart part has no end"}
		}
		isField, err := isField(header, i, name)
		if err != nil {
			return field, err
		}
		if isField {
			if field.Found() {
				return field, &DuplicateError{name, data}
			}
			field = Value{data, max(data, end-2)}
		}
		i = end
	}
}

// next returns the index of the dashes of the first delimiter whose line end
// is at or behind i, or -1.
func next(body []byte, i int, dashes []byte) int {
	for {
		n := bytes.Index(body[i:], dashes)
		if n < 0 {
			return -1
		}
		i += n
		if i >= 2 && body[i-1] == '\n' && body[i-2] == '\r' {
			return i
		}
		i += len(dashes)
	}
}

// partHeader returns the header lines at i and the index of the data behind
// the empty line.
func partHeader(body []byte, i int) (header []byte, data int, err error) {
	window := body[i:min(len(body), i+maxPartHeader)]
	if bytes.HasPrefix(window, []byte("\r\n")) {
		return nil, i + 2, nil
	}
	n := bytes.Index(window, []byte("\r\n\r\n"))
	if n < 0 {
		return nil, 0, &Error{i, fmt.Sprintf("multipart header has no end within %d bytes", maxPartHeader)}
	}
	return window[:n], i + n + 4, nil
}

// isField reports whether header, which stands at i, belongs to the plain
// field of that name.
func isField(header []byte, i int, name string) (bool, error) {
	disposition := ""
	for line := range strings.SplitSeq(string(header), "\r\n") {
		key, value, ok := strings.Cut(line, ":")
		if !ok || !strings.EqualFold(key, "Content-Disposition") {
			continue
		}
		if disposition != "" {
			return false, &Error{i, "multipart part has two Content-Disposition headers"}
		}
		disposition = value
	}
	kind, params, err := mime.ParseMediaType(disposition)
	if err != nil || kind != "form-data" {
		return false, &Error{i, "multipart part has no valid Content-Disposition header"}
	}
	_, file := params["filename"]
	return params["name"] == name && !file, nil
}
