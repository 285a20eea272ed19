package aigateway

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/alert"
)

// alertCounters are the counters of all alerts of the process, read at each scrape. The
// receivers' names are those of the file.
type alertCounters struct{}

var (
	alertsSent = prometheus.NewDesc(prometheus.BuildFQName(metricsNamespace, metricsSubsystem, "alerts_sent_total"),
		"Messages that an alert receiver has taken.", []string{"receiver"}, nil)
	alertErrors = prometheus.NewDesc(prometheus.BuildFQName(metricsNamespace, metricsSubsystem, "alert_errors_total"),
		"Failed attempts to send a message to an alert receiver.", []string{"receiver"}, nil)
)

// Describe sends the descriptions.
func (alertCounters) Describe(ch chan<- *prometheus.Desc) {
	ch <- alertsSent
	ch <- alertErrors
}

// Collect sends the counters. Receivers of one name in several data_dirs are one.
func (alertCounters) Collect(ch chan<- prometheus.Metric) {
	all := make(map[string]alert.ReceiverStats)
	alertsPool.Range(func(_, value any) bool {
		if a, ok := value.(*alerts); ok { // one that is being made is none
			for _, r := range a.Stats().Receivers {
				sum := all[r.Name]
				sum.Sent += r.Sent
				sum.Errors += r.Errors
				all[r.Name] = sum
			}
		}
		return true
	})
	for name, sum := range all {
		ch <- prometheus.MustNewConstMetric(alertsSent, prometheus.CounterValue, float64(sum.Sent), name)
		ch <- prometheus.MustNewConstMetric(alertErrors, prometheus.CounterValue, float64(sum.Errors), name)
	}
}

var _ prometheus.Collector = alertCounters{}
