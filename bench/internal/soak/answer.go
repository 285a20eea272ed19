package soak

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// reading is what a client reads of an answer. It knows the four APIs by itself, so
// that a mistake of the gateway's own readers shows.
type reading struct {
	text   strings.Builder
	ended  bool // with the API's end mark, or a finish reason
	told   bool // an error event came
	tokens int
}

// chunk has the members of an event, or of a whole answer, that matter.
type chunk struct {
	Type    string
	Error   json.RawMessage
	Delta   json.RawMessage // a text in responses, an object in messages
	Choices []struct {
		Delta, Message struct{ Content string }
		Text           string
		Finish         string `json:"finish_reason"`
	}
	Content []struct{ Text string }                     // of messages
	Output  []struct{ Content []struct{ Text string } } // of responses
	Stop    string                                      `json:"stop_reason"`
	Status  any                                         // of responses
}

// stream reads events until the transfer ends, and returns how it did: nil for a clean
// end. After each token it calls each, if that is not nil; its error ends the reading.
func (g *reading) stream(body io.Reader, each func(tokens int) error) error {
	r := bufio.NewReaderSize(body, 4096)
	for {
		line, err := r.ReadBytes('\n')
		if data, ok := bytes.CutPrefix(bytes.TrimSpace(line), []byte("data: ")); ok {
			if wrong := g.event(data); wrong != nil && err == nil {
				return wrong
			}
			if each != nil {
				if err := each(g.tokens); err != nil {
					return err
				}
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// formError is returned for an event or answer that cannot be read.
type formError struct{ text string }

func (e formError) Error() string { return "cannot read " + e.text }

func (g *reading) event(data []byte) error {
	if string(data) == "[DONE]" {
		g.ended = true
		return nil
	}
	var c chunk
	if err := json.Unmarshal(data, &c); err != nil {
		return formError{fmt.Sprintf("event %.200q: %v", data, err)}
	}
	switch {
	case c.Error != nil && string(c.Error) != "null", c.Type == "error", c.Type == "response.failed":
		g.told = true
	case c.Type == "message_stop", c.Type == "response.completed":
		g.ended = true
	case c.Type == "response.output_text.delta":
		var text string
		if err := json.Unmarshal(c.Delta, &text); err != nil {
			return formError{fmt.Sprintf("event %.200q: %v", data, err)}
		}
		g.add(text)
	case c.Type == "content_block_delta":
		var delta struct{ Text string }
		if err := json.Unmarshal(c.Delta, &delta); err != nil {
			return formError{fmt.Sprintf("event %.200q: %v", data, err)}
		}
		g.add(delta.Text)
	}
	for _, choice := range c.Choices {
		g.add(choice.Delta.Content + choice.Text)
		g.ended = g.ended || choice.Finish != ""
	}
	return nil
}

func (g *reading) add(text string) {
	if text != "" {
		g.text.WriteString(text)
		g.tokens++
	}
}

// whole reads an answer in one piece.
func (g *reading) whole(body io.Reader) error {
	b, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	var c chunk
	if err := json.Unmarshal(b, &c); err != nil {
		return formError{fmt.Sprintf("answer %.200q: %v", b, err)}
	}
	for _, choice := range c.Choices {
		g.add(choice.Message.Content + choice.Text)
	}
	for _, block := range c.Content {
		g.add(block.Text)
	}
	for _, item := range c.Output {
		for _, part := range item.Content {
			g.add(part.Text)
		}
	}
	g.ended = true
	return nil
}

// end is how a request of the plan ended whose answer began with 200 and then came to
// err. What is no end of the contract is told in words.
func (g *reading) end(p *Plan, stream bool, err error) string {
	var form formError
	text, want := strings.ReplaceAll(g.text.String(), "x", ""), p.text() // without what pads the words to a size
	switch {
	case errors.As(err, &form):
		return "wrong: " + form.Error()
	case !strings.HasPrefix(want, strings.TrimSuffix(text, " ")):
		return fmt.Sprintf("wrong: got the text %.200q, want the beginning of %.200q", text, want)
	case err != nil && stream && !g.told:
		return "aborted without an error event: " + err.Error()
	case err != nil:
		return Broken
	case g.told:
		return Told
	case strings.TrimSuffix(text, " ") != want || !g.ended:
		return fmt.Sprintf("cut, with a clean end: got the text %.200q, want %.200q", text, want)
	}
	return Whole
}
