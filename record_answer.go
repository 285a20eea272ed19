package aigateway

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"errors"
	"io"
	"strings"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/openai"
)

var errLongAnswer = errors.New("answer is longer than is kept of one")

// plainAnswer reads an answer that is neither compressed nor a stream, where it lies.
func (c *capture) plainAnswer() openai.Answer {
	var whole []byte
	if len(c.pieces) == 1 {
		whole = *c.pieces[0]
	} else {
		whole = make([]byte, 0, c.size)
		for _, piece := range c.pieces {
			whole = append(whole, *piece...)
		}
	}
	return openai.ReadBodyInPlace(c.dialect, whole, maxCapture)
}

// answer reads what the client got.
func (c *capture) answer() (openai.Answer, error) {
	switch {
	case c.reader != nil:
		if c.gathered != nil {
			c.readGathered()
		}
		c.reader.Close()
		return c.reader.Answer(), nil
	case c.encoding == "" && c.full:
		return openai.Answer{}, errLongAnswer
	case c.encoding == "":
		return c.plainAnswer(), nil
	}
	body := c.compressed()
	switch encoding := strings.ToLower(strings.TrimSpace(c.encoding)); encoding {
	case "identity":
	case "gzip", "x-gzip":
		z, err := gzip.NewReader(body)
		if err != nil {
			return openai.Answer{}, err
		}
		body = z
	case "deflate":
		body = flate.NewReader(body)
	case "br":
		body = brotli.NewReader(body)
	case "zstd":
		z, err := zstd.NewReader(body, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxCapture))
		if err != nil {
			return openai.Answer{}, err
		}
		defer z.Close()
		body = z
	default:
		return openai.Answer{}, errors.New("unknown Content-Encoding")
	}
	if !c.isStream() {
		var whole bytes.Buffer
		// A compressed answer that was cut is read as far as it goes.
		_, _ = io.Copy(&whole, io.LimitReader(body, maxCapture+1))
		return openai.ReadBody(c.dialect, whole.Bytes(), maxCapture), nil
	}
	r := openai.NewReader(c.dialect, maxCapture)
	piece := make([]byte, laterPiece)
	for {
		n, err := body.Read(piece)
		r.Write(piece[:n])
		if err != nil {
			r.Close()
			return r.Answer(), nil
		}
	}
}
