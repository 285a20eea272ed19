package aigateway

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/ledger"
)

var (
	deniedDesc      = desc("refused_total", "Requests of clients that were refused, by why.", "reason")
	strangersDesc   = desc("wrong_key_addresses", "Addresses that have presented wrong keys of late.")
	unkeptDesc      = desc("usage_store_failing", "Whether what keys use is counted in memory alone.")
	unkeptErrsDesc  = desc("usage_store_errors_total", "Failures to remember what keys use.")
	keyRequestsDesc = desc("key_requests_total", "Requests by key, where key_label is on.", "key")
	keyTokensDesc   = desc("key_tokens_total", "Tokens by key, where key_label is on.", "key", "type")
	keyCostDesc     = desc("key_cost_total", "Cost by key in the unit of prices, where key_label is on.", "key")
)

// keyCollector shows who is refused, and what keys use since the process began.
type keyCollector struct {
	_ byte // so that a pointer to it is unlike any other
}

// Describe sends the description of every metric.
func (*keyCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		deniedDesc, strangersDesc, unkeptDesc, unkeptErrsDesc, keyRequestsDesc, keyTokensDesc, keyCostDesc,
	} {
		ch <- d
	}
}

// Collect sends the present values. Keys of one name in several files are one.
func (*keyCollector) Collect(ch chan<- prometheus.Metric) {
	counter := func(d *prometheus.Desc, n float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, n, labels...)
	}
	for reason := range denials {
		counter(deniedDesc, float64(refused[reason].Load()), denialNames[reason])
	}
	strangers := 0
	labeled := make(map[string]bool)
	stores.Range(func(_, v any) bool {
		s := v.(*store)
		strangers += s.strangers.Count()
		if snap := s.snapshot(); snap.keys != nil && snap.keyLabel {
			for _, k := range snap.keys.all {
				labeled[k.name] = true
			}
		}
		return true
	})
	ch <- prometheus.MustNewConstMetric(strangersDesc, prometheus.GaugeValue, float64(strangers))
	failing, failures := 0.0, int64(0)
	used := make(map[string]ledger.Usage)
	accountsPool.Range(func(_, v any) bool {
		a := v.(*accounts)
		if a.Broken() {
			failing = 1
		}
		failures += a.Errors()
		if len(labeled) > 0 {
			a.Each(func(name string, account *ledger.Account) {
				if labeled[name] {
					used[name] = used[name].Plus(account.Total())
				}
			})
		}
		return true
	})
	ch <- prometheus.MustNewConstMetric(unkeptDesc, prometheus.GaugeValue, failing)
	counter(unkeptErrsDesc, float64(failures))
	for name, u := range used {
		counter(keyRequestsDesc, float64(u.Requests), name)
		counter(keyTokensDesc, float64(u.Prompt), name, "prompt")
		counter(keyTokensDesc, float64(u.Completion), name, "completion")
		counter(keyCostDesc, float64(u.Cost)/1e6, name)
	}
}

var _ prometheus.Collector = (*keyCollector)(nil)
