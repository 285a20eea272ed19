package alert

import (
	"context"
	"fmt"
	"hash/fnv"
	"net/http"
	"time"
)

// webhook sends Alertmanager's JSON, version 4, so that what receives from it
// receives from here. Texts are masked but not escaped: JSON is for programs. With a
// secret it is sent as Authorization: Bearer.
type webhook struct{ *address }

func newWebhook(a *address) (channel, error) { return &webhook{a}, nil }

type webhookBody struct {
	Version           string            `json:"version"`
	GroupKey          string            `json:"groupKey"`
	TruncatedAlerts   int               `json:"truncatedAlerts"`
	Status            string            `json:"status"`
	Receiver          string            `json:"receiver"`
	GroupLabels       map[string]string `json:"groupLabels"`
	CommonLabels      map[string]string `json:"commonLabels"`
	CommonAnnotations map[string]string `json:"commonAnnotations"`
	ExternalURL       string            `json:"externalURL"`
	Alerts            []webhookAlert    `json:"alerts"`
}

type webhookAlert struct {
	Status       string            `json:"status"`
	Labels       map[string]string `json:"labels"`
	Annotations  map[string]string `json:"annotations"`
	StartsAt     time.Time         `json:"startsAt"`
	EndsAt       time.Time         `json:"endsAt"` // the zero time while it lasts, as Alertmanager has it
	GeneratorURL string            `json:"generatorURL"`
	Fingerprint  string            `json:"fingerprint"`
}

// maxWebhookAlerts bounds one message; what is beyond is counted in it.
const maxWebhookAlerts = 500

func (w *webhook) send(ctx context.Context, m *Message) (string, error) {
	header := http.Header{}
	if w.secret != "" {
		header.Set("Authorization", "Bearer "+w.secret)
	}
	said := ""
	for _, part := range m.perGroup() {
		a, err := post(ctx, w.client, w.url.String(), header, part.webhook())
		if err != nil {
			return "", err
		}
		said = a.String()
	}
	return said, nil
}

// webhook returns the body of a message of one group.
func (m *Message) webhook() *webhookBody {
	name := string(m.kind())
	common := map[string]string{"alertname": name, "gateway": m.Source}
	b := &webhookBody{
		Version: "4", GroupKey: fmt.Sprintf("{}:{alertname=%q, gateway=%q}", name, m.Source), Status: "firing", Receiver: m.Receiver,
		GroupLabels: map[string]string{"alertname": name, "gateway": m.Source}, CommonLabels: common, CommonAnnotations: map[string]string{},
		Alerts: []webhookAlert{},
	}
	if m.over() {
		b.Status = "resolved"
	}
	var alerts []Alert
	if m.Test {
		alerts = []Alert{{Kind: Kind(name), Severity: Info, Cause: m.text(plain), Count: 1, Since: m.Time}}
		if m.testOver {
			alerts[0].Until = m.Time
		}
	} else {
		alerts = m.Groups[0].Alerts
	}
	if len(alerts) > maxWebhookAlerts {
		b.TruncatedAlerts = len(alerts) - maxWebhookAlerts
		alerts = alerts[:maxWebhookAlerts]
	}
	for i := range alerts {
		b.Alerts = append(b.Alerts, alerts[i].webhook(m))
	}
	if len(b.Alerts) == 1 {
		b.CommonLabels, b.CommonAnnotations = b.Alerts[0].Labels, b.Alerts[0].Annotations
	}
	return b
}

func (a *Alert) webhook(m *Message) webhookAlert {
	labels := map[string]string{"alertname": string(a.Kind), "gateway": m.Source, "severity": a.Severity.String()}
	if a.Instance != "" {
		labels["upstream"] = a.Instance
	}
	if a.Model != "" {
		labels["model"] = a.Model
	}
	summary := m.words().kinds[a.Kind]
	if m.Test {
		summary = m.words().testTitle
	}
	h := fnv.New64a()
	fmt.Fprintf(h, "%q %q %q %q", m.Source, a.Kind, a.Instance, a.Model)
	status := "firing"
	if a.Over() {
		status = "resolved"
	}
	return webhookAlert{
		Status: status, Labels: labels, StartsAt: a.Since, EndsAt: a.Until, Fingerprint: fmt.Sprintf("%016x", h.Sum64()),
		Annotations: map[string]string{"summary": summary, "description": a.Cause, "count": fmt.Sprint(a.Count)},
	}
}
