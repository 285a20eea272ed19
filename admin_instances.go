package aigateway

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/json5"
	"github.com/simpleaigateway/caddy-ai-gateway/internal/page"
)

// memberStatus is an instance with its place in the file.
type memberStatus struct {
	Model string `json:"model"`
	Tier  string `json:"tier"`
	page.Instance
}

func (c *adminCall) member(i *instance) memberStatus {
	return memberStatus{i.model, i.tier.String(), i.status(c.store.snapshot(), clock())}
}

func (c *adminCall) listInstances() error {
	all := make([]memberStatus, 0, len(c.store.snapshot().fleet.instances))
	for _, i := range c.store.snapshot().fleet.instances {
		all = append(all, c.member(i))
	}
	return c.answer(map[string]any{"instances": all})
}

// instance returns the one that the path names.
func (c *adminCall) instance() (*instance, error) {
	fleet := c.store.snapshot().fleet
	all := fleet.names()
	found := lookUp(all, c.name)
	if len(found) == 1 {
		return fleet.instances[found[0]], nil
	}
	if len(found) == 0 {
		return nil, unknownInstance(all, c.name)
	}
	const most = 20
	e := &adminError{
		status: http.StatusConflict, Code: "ambiguous_instance",
		Message: fmt.Sprintf("%s is %d instances, give the ID of one", quote(c.name), len(found)),
	}
	for _, n := range found[:min(len(found), most)] {
		e.Allowed = append(e.Allowed, all[n].id)
	}
	return nil, e
}

func unknownInstance(all []named, name string) error {
	const most = 100
	e := &adminError{status: http.StatusNotFound, Code: "unknown_instance", Message: unknownName(all, name).Error()}
	for _, n := range all[:min(len(all), most)] {
		e.Allowed = append(e.Allowed, n.name)
	}
	return e
}

func (c *adminCall) showInstance() error {
	i, err := c.instance()
	if err != nil {
		return err
	}
	return c.answer(c.member(i))
}

func (c *adminCall) drain(drain bool) error {
	i, err := c.instance()
	if err != nil {
		return err
	}
	return c.steered(c.store.setDrain(i.id, drain))
}

// steered answers with an instance as it is now, nil if it has left the file meanwhile.
func (c *adminCall) steered(i *instance) error {
	if i == nil {
		return unknownInstance(c.store.snapshot().fleet.names(), c.name)
	}
	return c.answer(c.member(i))
}

func (c *adminCall) eject() error {
	i, err := c.instance()
	if err != nil {
		return err
	}
	wait := time.Duration(0)
	if text := c.query.Get("for"); c.query.Has("for") {
		if wait, err = ejectionTime(text); err != nil {
			return invalidParameter("for", err.Error())
		}
	}
	c.store.takeOut(i, wait)
	return c.answer(c.member(i))
}

// ejectionTime reads how long an instance is to be out.
func ejectionTime(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if seconds, notNumber := strconv.ParseUint(text, 10, 32); notNumber == nil {
		d, err = time.Duration(seconds)*time.Second, nil
	}
	if err != nil || d < time.Second || d > 366*24*time.Hour {
		return 0, fmt.Errorf(`got %s, want seconds or a time such as "10m", from 1s to 366 days`, quote(text))
	}
	return d, nil
}

func (c *adminCall) restore() error {
	i, err := c.instance()
	if err != nil {
		return err
	}
	return c.steered(c.store.restore(i))
}

// reloadAnswer tells what a look at the file has changed.
type reloadAnswer struct {
	Path     string    `json:"path"`
	Loaded   time.Time `json:"loaded"`  // when the content in force was read
	Summary  string    `json:"summary"` // "no change", or counts
	Added    []string  `json:"added"`
	Removed  []string  `json:"removed"`
	Changed  []string  `json:"changed"`
	Settings []string  `json:"settings"`
}

func (c *adminCall) reload() error {
	changed, err := c.store.reload(c.r.Context())
	switch {
	case c.r.Context().Err() != nil:
		return nil // the client went
	case errors.Is(err, errStoreEnded):
		return &adminError{status: http.StatusNotFound, Code: "no_gateway", Message: err.Error()}
	case err != nil:
		return rejectedFile(c.store.path, err)
	}
	if changed == nil {
		changed = new(swap)
	}
	list := func(l *some) []string { return append([]string{}, l.list()...) }
	return c.answer(reloadAnswer{
		Path: c.store.path, Loaded: c.store.snapshot().loaded, Summary: changed.String(),
		Added: list(&changed.added), Removed: list(&changed.removed), Changed: list(&changed.changed), Settings: list(&changed.settings),
	})
}

// rejectedFile tells what is wrong with the file at path, without a line of it.
func rejectedFile(path string, err error) error {
	e := &adminError{
		status: http.StatusUnprocessableEntity, Code: "config_rejected",
		Message: path + ": the last good content stays in force: " + rejection(path, err).cause,
	}
	all, _ := errors.AsType[json5.Errors](err)
	for _, m := range all[:min(len(all), maxTold)] {
		e.Mistakes = append(e.Mistakes, mistake{m.Line, m.Column, m.Path, m.Msg})
	}
	return e
}
