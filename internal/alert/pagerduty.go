package alert

import (
	"context"
	"errors"
	"time"
)

// pagerDuty is an integration of PagerDuty by Events API v2:
// pagerduty://[HOST]/INTEGRATION_KEY. Each kind of fault is one incident, which ends
// when the last of its alerts is over.
type pagerDuty struct {
	*address
	endpoint string
	key      string
}

func newPagerDuty(a *address) (channel, error) {
	parts := a.parts()
	if len(parts) == 0 && a.url.Host != "" { // pagerduty://KEY
		return &pagerDuty{a, on(a.host("events.pagerduty.com"), "v2", "enqueue").String(), a.url.Host}, nil
	}
	if len(parts) != 1 {
		return nil, errors.New("missing key, want pagerduty:///INTEGRATION_KEY")
	}
	host := a.url.Host
	if host == "" {
		host = "events.pagerduty.com"
	}
	return &pagerDuty{a, on(host, "v2", "enqueue").String(), parts[0]}, nil
}

func (p *pagerDuty) send(ctx context.Context, m *Message) (string, error) {
	said := ""
	for _, part := range m.perGroup() {
		action := "trigger"
		if part.over() {
			action = "resolve"
		}
		s := plain
		s.limit = 9000
		severity := part.severity()
		if severity == 0 {
			severity = Info
		}
		a, err := post(ctx, p.client, p.endpoint, nil, map[string]any{
			"routing_key": p.key, "event_action": action, "dedup_key": part.incident(), "client": "caddy-ai-gateway",
			"payload": map[string]any{
				"summary": part.title(style{escape: defuse, size: characters}, 1024), "source": part.Source, "severity": severity.String(),
				"timestamp": part.Time.Format(time.RFC3339), "component": "ai-gateway", "class": string(part.kind()),
				"custom_details": map[string]any{"text": part.text(s)},
			},
		})
		if err != nil {
			return "", err
		}
		said = a.String()
	}
	return said, nil
}

// perGroup returns a message for each group, for services that open and close
// incidents. A test is opened and closed.
func (m *Message) perGroup() []*Message {
	if m.Test {
		end := *m
		end.testOver = true
		return []*Message{m, &end}
	}
	var parts []*Message
	for _, g := range m.Groups {
		part := *m
		part.Groups = []Group{g}
		parts = append(parts, &part)
	}
	return parts
}

// kind returns that of the first group.
func (m *Message) kind() Kind {
	if len(m.Groups) == 0 {
		return "test"
	}
	return m.Groups[0].Kind
}

// incident is the name under which services know the fault again.
func (m *Message) incident() string { return "caddy-ai-gateway:" + m.Source + ":" + string(m.kind()) }
