package aigateway

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/hourly"
	"github.com/simpleaigateway/caddy-ai-gateway/internal/openai"
	"github.com/simpleaigateway/caddy-ai-gateway/internal/rawjson"
	"github.com/simpleaigateway/caddy-ai-gateway/internal/sharegpt"
)

// The outcome that imported records have in meta.
const outcomeImported = "imported"

// recordImport makes records of conversations in the form of an export:
//
//	{"messages":[{"role":"user","content":"1+1=?"},{"role":"assistant","content":"2"}],"tools":[…]}
//
// The last message must be an assistant's, it is taken for the answer and the rest for
// its request. Records go to the hourly files of now, next to those of a running
// gateway, and get new ids: what is imported twice is there twice.
type recordImport struct {
	// Dir is the data_dir, Model what records get whose line names no model.
	Dir, Model string

	writer    *hourly.Writer
	projector *sharegpt.Projector
	lost      error // what the disk did not take
	request   []byte
	answer    []byte
	lines     []byte
	records   []sharegpt.Record
}

var errNoAnswer = errors.New("got no messages that end with an assistant's, want such")

// read makes a record of every line of r. It tells w which lines are no conversations,
// and returns how many records there are and how many such lines.
func (m *recordImport) read(ctx context.Context, r io.Reader, w io.Writer) (written, wrong int, err error) {
	m.projector = sharegpt.NewProjector(sharegpt.Options{})
	m.writer = hourly.New(hourly.Options{Root: m.Dir, Report: func(e hourly.Event) {
		if e.Kind == hourly.Lost && m.lost == nil {
			m.lost = e.Err
		}
	}})
	in := recordReader{reader: bufio.NewReaderSize(r, 64<<10)}
	for in.next() && err == nil {
		if err = m.project(in.line); err != nil {
			wrong++
			_, err = fmt.Fprintf(w, "line %d: %v\n", in.number, err)
			continue
		}
		var n int
		n, err = m.append(time.Now())
		written += n
		if err == nil {
			err = errors.Join(m.lost, ctx.Err())
		}
	}
	m.writer.Close(time.Now())
	if err == nil {
		err = errors.Join(in.err, m.lost)
	}
	if err != nil {
		return written, wrong, fmt.Errorf("importing records: line %d: %w", in.number, err)
	}
	return written, wrong, nil
}

// project makes the records of a line.
func (m *recordImport) project(line []byte) error {
	if !json.Valid(line) {
		return errors.New("got no JSON, want an object")
	}
	var last []byte
	m.request = append(m.request[:0], '{')
	model := m.Model
	for p := rawjson.Object(line); p.Next(); {
		if len(m.request) > 1 {
			m.request = append(m.request, ',')
		}
		m.request = append(rawjson.AppendString(m.request, p.Key), ':')
		switch string(p.Key) {
		case "messages":
			m.request = append(m.request, '[')
			start := len(m.request)
			for message := rawjson.Array(p.Value); message.Next(); {
				if last != nil {
					if len(m.request) > start {
						m.request = append(m.request, ',')
					}
					m.request = append(m.request, last...)
				}
				last = message.Value
			}
			m.request = append(m.request, ']')
			continue
		case "model":
			if name := rawjson.Text(p.Value); name != "" {
				model = name
			}
		}
		m.request = append(m.request, p.Value...)
	}
	m.request = append(m.request, '}')
	if rawjson.Text(memberOf(last, "role")) != "assistant" {
		return errNoAnswer
	}
	finish := "stop"
	if calls := memberOf(last, "tool_calls"); rawjson.IsArray(calls) && len(calls) > 2 {
		finish = "tool_calls"
	}
	m.answer = rawjson.AppendString(append(m.answer[:0], `{"object":"chat.completion","model":`...), []byte(model))
	m.answer = append(append(m.answer, `,"choices":[{"index":0,"message":`...), last...)
	m.answer = append(m.answer, `,"finish_reason":"`+finish+`"}]}`...)
	answer := openai.ReadBody(openai.Chat, m.answer, maxRecordLine)
	x := sharegpt.Exchange{
		ID: newRequestID(), Created: time.Now().Unix(), HTTP: 200, Outcome: outcomeImported, Request: m.request, Answer: &answer,
	}
	var err error
	m.lines, m.records, err = m.projector.Append(m.lines[:0], &x, m.records[:0])
	if err != nil {
		return err
	}
	for i := range m.records {
		if m.records[i].Folder != sharegpt.None {
			return nil
		}
	}
	return errors.New("got an answer that says nothing, want a text or a call")
}

// append writes the records of a line and returns how many there were.
func (m *recordImport) append(now time.Time) (n int, err error) {
	for i := range m.records {
		r := &m.records[i]
		series, ok := seriesOf(r)
		if !ok {
			continue
		}
		if err := m.writer.Append(series, r.Line, now); err != nil {
			return n, err
		}
		n++
	}
	m.writer.Tick(now)
	return n, nil
}
