package echomodel

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
)

// maxField bounds a form's field that is no file, in bytes.
const maxField = 1 << 20

// parseForm reads a multipart body: the fields model and echo (as JSON) into x.req, and what the file is into x.upload.
func parseForm(x *exchange) error {
	kind, params, err := mime.ParseMediaType(x.r.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/form-data" {
		return badRequest("file", "want a body of multipart/form-data")
	}
	form := multipart.NewReader(bytes.NewReader(x.body.bytes), params["boundary"])
	for {
		part, err := form.NextPart()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return badRequest("file", "reading the form: "+err.Error())
		}
		if part.FormName() == "file" {
			n, err := io.Copy(io.Discard, part)
			if err != nil {
				return badRequest("file", "reading the file: "+err.Error())
			}
			x.upload = upload{part.FileName(), n}
			continue
		}
		value, err := io.ReadAll(io.LimitReader(part, maxField))
		if err != nil {
			return badRequest(part.FormName(), "reading the form: "+err.Error())
		}
		switch part.FormName() {
		case "model":
			x.req.model, _ = textOf(appendString(nil, string(value)))
		case "echo":
			x.req.echo = value
		}
	}
}

// upload is the file of a form.
type upload struct {
	name string
	size int64
}

// serveTranscription tells what it heard.
func serveTranscription(x *exchange) error {
	if x.upload.name == "" {
		return badRequest("file", "Field required")
	}
	if err := x.think(1); err != nil {
		return err
	}
	text := fmt.Sprintf("%s, %d bytes, model %s", x.upload.name, x.upload.size, goString(x.req.model))
	x.buf = append(appendString(append(x.buf, `{"text":`...), text), '}')
	return x.json(x.buf)
}
