package alert

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/url"
	"sync/atomic"

	"github.com/nicholas-fedor/shoutrrr/pkg/router"
	"github.com/nicholas-fedor/shoutrrr/pkg/types"
)

// libraryServices are those that the shoutrrr library sends to, in the form of its
// URLs. The services with files of their own are not left to it: it takes no
// context, follows redirects, reads answers without a bound, and tells neither
// Retry-After nor what a robot's code means.
var libraryServices = []string{
	"bark", "googlechat", "join", "matrix", "mattermost", "notifiarr", "pushbullet", "pushover", "rocketchat", "signal", "zulip",
}

var errPanicked = errors.New("the library panicked")

// library sends through shoutrrr.
type library struct {
	*address
	busy atomic.Bool // a message is under way, perhaps one that was given up
}

func newLibrary(a *address) (channel, error) {
	if a.name != "matrix" { // which would log in at once
		if _, err := a.service(); err != nil {
			// The error shows the URL.
			return nil, fmt.Errorf("is not in shoutrrr's form for %s, see https://shoutrrr.nickfedor.com", a.name)
		}
	}
	return &library{address: a}, nil
}

// service returns shoutrrr's service of the address. It keeps parameters, so each
// message gets its own. A panic in it is an error.
func (a *address) service() (s types.Service, err error) {
	defer func() {
		if recover() != nil {
			err = errPanicked
		}
	}()
	r, err := router.New(log.New(io.Discard, "", 0))
	if err != nil {
		return nil, err
	}
	u := url.URL{Scheme: a.name, User: a.url.User, Host: a.url.Host, Path: a.url.Path, RawPath: a.url.RawPath, RawQuery: a.url.RawQuery, Fragment: a.url.Fragment}
	return r.Locate(u.String())
}

func (l *library) send(ctx context.Context, m *Message) (string, error) {
	if !l.busy.CompareAndSwap(false, true) {
		return "", &failure{text: "the message before still hangs"}
	}
	s := plain
	s.limit = 1500
	text := m.title(plain, 300) + "\n" + m.text(s)
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	done := make(chan error, 1)
	go func() { // the library takes no context, so it may be left behind
		defer l.busy.Store(false)
		done <- l.pass(text)
	}()
	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		return "", &failure{text: "sending by " + l.name, err: err}
	}
	return "accepted", nil
}

// pass hands the text to the library. A panic in it is an error.
func (l *library) pass(text string) (err error) {
	defer func() {
		if recover() != nil {
			err = errPanicked
		}
	}()
	service, err := l.service()
	if err != nil {
		return err
	}
	return service.Send(text, &types.Params{})
}
