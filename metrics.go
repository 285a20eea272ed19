package aigateway

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

const metricsNamespace, metricsSubsystem = "caddy", "ai_gateway"

// badFiles counts the watched files whose content is not in force.
var badFiles atomic.Int64

// The metrics belong to the process: what they count outlives configurations of
// Caddy, each of which has a registry of its own.
var (
	swapSuccessful = prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: metricsNamespace, Subsystem: metricsSubsystem, Name: "config_last_reload_successful",
		Help: "Whether the present content of every watched config.json5 is in force.",
	}, func() float64 {
		if badFiles.Load() > 0 {
			return 0
		}
		return 1
	})
	swapTime = prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: metricsNamespace, Subsystem: metricsSubsystem, Name: "config_last_reload_success_timestamp_seconds",
		Help: "Unix time at which a content of config.json5 was put in force last.",
	})
)

// collectors are all metrics of the gateway.
var collectors = []prometheus.Collector{swapSuccessful, swapTime, &fleetCollector{}, &keyCollector{}, alertCounters{}}

// registerMetrics adds the metrics to a configuration's registry, which may have
// them already: from another handler.
func registerMetrics(registry *prometheus.Registry) error {
	for _, c := range collectors {
		err := registry.Register(c)
		if known, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); ok && known.ExistingCollector == c {
			continue
		}
		if err != nil {
			return fmt.Errorf("registering metrics: %w", err)
		}
	}
	return nil
}
