package aigateway

import (
	"context"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/page"
)

// recordsParams are what a look at the records takes in a query beside config, and in a
// form beside text. A text is taken from a form only: Caddy logs queries.
var recordsParams = []string{"model", "outcome", "before"}

const (
	// maxForm bounds a form, in bytes.
	maxForm = 64 << 10
	// maxWanted bounds a text that is looked for, in bytes.
	maxWanted = 4 << 10
	// browsersWait is how long a look at the records waits for others.
	browsersWait = 2 * time.Second
)

// browsers bounds how many looks at the records are under way, and with them their
// memory and their part of the processor.
var browsers = make(chan struct{}, 2)

// search begins a look at the records, which the file must allow. The caller must call
// end.
func (c *adminCall) search(limit int) (s *recordSearch, end func(), err error) {
	dir := c.store.snapshot().browsed
	if dir == "" {
		return nil, nil, &adminError{
			status: http.StatusNotFound, Code: "browse_off",
			Message: "the records are not shown here: record: {browse: true} in " + c.store.path + " turns it on",
		}
	}
	wait := time.NewTimer(browsersWait)
	defer wait.Stop()
	select {
	case browsers <- struct{}{}:
	case <-wait.C:
		c.w.Header().Set("Retry-After", "1")
		return nil, nil, &adminError{status: http.StatusServiceUnavailable, Code: "busy", Message: "others look at the records, try again"}
	case <-c.r.Context().Done():
		return nil, nil, c.r.Context().Err()
	}
	until := time.Now().Add(maxBrowsedTime)
	ctx, cancel := context.WithDeadline(c.r.Context(), until.Add(time.Second)) // where no bound stops it
	return &recordSearch{dir: dir, limit: limit, most: maxBrowsedBytes, until: until, ctx: ctx}, func() {
		cancel()
		<-browsers
	}, nil
}

// asked returns what is asked for, in the query or in a form.
func (c *adminCall) asked() (f page.Filter, limit int, err error) {
	values := c.query
	if c.r.Method == http.MethodPost {
		if values, err = c.form(); err != nil {
			return f, 0, err
		}
	}
	f = page.Filter{Model: values.Get("model"), Outcome: values.Get("outcome"), Text: values.Get("text"), Before: values.Get("before")}
	if f.Outcome != "" && !slices.Contains(page.Outcomes, f.Outcome) {
		e := &adminError{status: http.StatusBadRequest, Code: "invalid_parameter", Allowed: page.Outcomes, Message: "outcome: " + quote(f.Outcome) + " is none"}
		return f, 0, e
	}
	if len(f.Text) > maxWanted {
		return f, 0, invalidParameter("text", fmt.Sprintf("got %d bytes, want at most %d", len(f.Text), maxWanted))
	}
	if _, _, ok := parsePlaces(f.Before); f.Before != "" && !ok {
		return f, 0, invalidParameter("before", "got "+quote(f.Before)+", want the before of an answer")
	}
	limit = browsedPage
	if values.Has("limit") {
		if limit, err = strconv.Atoi(values.Get("limit")); err != nil || limit < 1 || limit > maxBrowsedPage {
			return f, 0, invalidParameter("limit", fmt.Sprintf("got %s, want a number from 1 to %d", quote(values.Get("limit")), maxBrowsedPage))
		}
	}
	return f, limit, nil
}

// form returns the members of a posted form, each of which must be known.
func (c *adminCall) form() (url.Values, error) {
	allowed := append([]string{"text", "limit"}, recordsParams...)
	const kind = "application/x-www-form-urlencoded"
	if got, _, err := mime.ParseMediaType(c.r.Header.Get("Content-Type")); err != nil || got != kind {
		return nil, &adminError{
			status: http.StatusUnsupportedMediaType, Code: "unsupported_media_type", Allowed: []string{kind},
			Message: "got a body of the type " + quote(c.r.Header.Get("Content-Type")) + ", want a form",
		}
	}
	c.r.Body = http.MaxBytesReader(c.w, c.r.Body, maxForm)
	if err := c.r.ParseForm(); err != nil {
		return nil, &adminError{status: http.StatusBadRequest, Code: "invalid_form", Message: fmt.Sprintf("the form cannot be read, or has more than %d bytes", maxForm)}
	}
	for name, values := range c.r.PostForm {
		if !slices.Contains(allowed, name) {
			return nil, &adminError{
				status: http.StatusBadRequest, Code: "unknown_parameter", Allowed: allowed, Message: "parameter " + quote(name) + " is not known here",
			}
		}
		if len(values) > 1 {
			return nil, invalidParameter(name, "got it more than once, want it once")
		}
	}
	return c.r.PostForm, nil
}

// look does what is asked for.
func (c *adminCall) look(f page.Filter, limit int) (*page.Recordings, error) {
	s, end, err := c.search(limit)
	if err != nil {
		return nil, err
	}
	defer end()
	s.filter = f
	result, err := s.run()
	return result, unreadable(err)
}

// unreadable makes an answer of an error in reading records.
func unreadable(err error) error {
	if _, ok := errors.AsType[*adminError](err); err == nil || ok || errors.Is(err, context.Canceled) {
		return err
	}
	return &adminError{status: http.StatusInternalServerError, Code: "records_unreadable", Message: err.Error()}
}

// exchanges answers with exchanges, the newest first.
func (c *adminCall) exchanges() error {
	f, limit, err := c.asked()
	if err != nil {
		return c.ifBrowsed(err)
	}
	result, err := c.look(f, limit)
	if err != nil {
		return c.unlessGone(err)
	}
	return c.answer(result)
}

// ifBrowsed returns err, or that the records are not shown, which matters more.
func (c *adminCall) ifBrowsed(err error) error {
	if c.store.snapshot().browsed != "" {
		return err
	}
	_, _, err = c.search(0)
	return err
}

// unlessGone returns err, or nothing if there is nobody to tell it.
func (c *adminCall) unlessGone(err error) error {
	if c.r.Context().Err() != nil {
		return nil
	}
	return err
}

// recordsPage serves the list for people. A form without a text leads to an address
// that can be kept.
func (c *adminCall) recordsPage() error {
	f, limit, err := c.asked()
	if err != nil {
		if err = c.ifBrowsed(err); c.store.snapshot().browsed == "" {
			return err
		}
	}
	if err == nil && c.r.Method == http.MethodPost && f.Text == "" {
		query := url.Values{}
		for name, value := range map[string]string{"model": f.Model, "outcome": f.Outcome, "before": f.Before, "lang": c.query.Get("lang"), "config": c.query.Get("config")} {
			if value != "" {
				query.Set(name, value)
			}
		}
		c.w.Header().Set("Location", "records?"+query.Encode())
		c.w.WriteHeader(http.StatusSeeOther)
		return nil
	}
	v := c.view(f)
	if err == nil {
		v.Recordings, err = c.look(f, limit)
	}
	return c.show(v, err)
}

func (c *adminCall) view(f page.Filter) *page.RecordsView {
	return &page.RecordsView{Options: page.Options{Keep: []string{"config"}}, Models: c.store.snapshot().fleet.models, Filter: f}
}

// show serves a page, or on it why there is nothing to be seen.
func (c *adminCall) show(v *page.RecordsView, err error) error {
	if err != nil {
		e, ok := errors.AsType[*adminError](err)
		if !ok || e.Code == "browse_off" {
			return c.unlessGone(err)
		}
		v.Problem, v.Status = e.Message, e.status
	}
	v.Serve(c.w, c.r)
	return nil
}

// read returns the exchange that the query names.
func (c *adminCall) read() (*page.Conversation, error) {
	s, end, err := c.search(1)
	if err != nil {
		return nil, err
	}
	defer end()
	at := c.query.Get("at")
	_, places, ok := parsePlaces(at)
	if !ok || len(places) != 1 || places[0].offset < 0 {
		return nil, invalidParameter("at", "got "+quote(at)+", want the at of an exchange")
	}
	line, err := s.readRecord(places[0])
	if errors.Is(err, errBound) {
		return nil, &adminError{
			status: http.StatusServiceUnavailable, Code: "records_bound", Message: "its file is packed, and more than one look may read: unpack it, or see caddy ai-gateway records export",
		}
	}
	var conversation *page.Conversation
	if err == nil {
		conversation = s.conversation(line)
	}
	if errors.Is(err, errNoRecord) || err == nil && conversation == nil {
		return nil, &adminError{status: http.StatusNotFound, Code: "unknown_record", Message: "at: there is no record at " + quote(at) + ", or no more"}
	}
	if err != nil {
		return nil, unreadable(err)
	}
	conversation.At = at
	return conversation, nil
}

// exchange answers with all that is shown of an exchange.
func (c *adminCall) exchange() error {
	conversation, err := c.read()
	if err != nil {
		return c.unlessGone(err)
	}
	return c.answer(conversation)
}

// conversationPage serves it for people.
func (c *adminCall) conversationPage() error {
	v := c.view(page.Filter{})
	var err error
	if v.Conversation, err = c.read(); err != nil {
		v.Below = true
	}
	return c.show(v, err)
}
