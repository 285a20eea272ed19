package aigateway

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/alert"
	"github.com/simpleaigateway/caddy-ai-gateway/internal/json5"
)

// parseConfig reads the text of a config.json5 whose relative paths start at dir.
// An error is [json5.Errors].
func parseConfig(src []byte, dir string) (*Config, error) {
	return readConfig(src, dir).result(dir)
}

// reading is what came of the text of a config.json5.
type reading struct {
	config   *Config         // as far as it could be read; data_dir as it is written
	doc      *json5.Document // nil after a mistake in the syntax, as is config
	mistakes json5.Errors    // in the order of the text
}

// result returns the configuration, with data_dir below dir if it is relative, or
// the mistakes.
func (r reading) result(dir string) (*Config, error) {
	if len(r.mistakes) > 0 {
		return nil, r.mistakes
	}
	r.config.DataDir = beside(dir, r.config.DataDir)
	return r.config, nil
}

// readConfig reads as much as it can of the text of a config.json5 whose
// placeholders' paths start at dir.
func readConfig(src []byte, dir string) reading {
	return readConfigWith(src, dir, func(s string) (string, error) { return expandPlaceholders(s, dir) })
}

// readConfigWith is readConfig with another way to resolve placeholders.
func readConfigWith(src []byte, dir string, expand func(string) (string, error)) reading {
	doc, err := json5.Parse(src, "redact") // whose patterns may hold what they are to hide
	if err != nil {
		return reading{mistakes: mistakesOf(err)}
	}
	c := &Config{
		DataDir: "./data", LoadBalancingStrategy: strategyRoundRobin, ErrorThreshold: 10,
		ErrorWindow: Seconds(300 * time.Second), AlertCooldown: Seconds(300 * time.Second), EngineRoutes: defaultEngineRoutes,
		Poll:   PollConfig{Interval: Seconds(2 * time.Second), Timeout: Seconds(2 * time.Second)},
		DNS:    defaultDNS,
		Queue:  QueueConfig{MaxWaiting: 256, MaxWait: Seconds(30 * time.Second)},
		Record: defaultRecord, Alerts: alert.Defaults(), Retries: RetriesConfig{Attempts: 3, Time: Seconds(600 * time.Second), Ratio: 0.2, MaxBody: 32 << 20},
	}
	all := mistakesOf(doc.Decode(c, json5.Options{String: expand}))
	c.Alerts.Cooldown = time.Duration(c.AlertCooldown)
	ch := newChecker(doc, all)
	c.check(ch)
	ch.keys(c, dir, expand)
	all = append(all, ch.problems...)
	slices.SortStableFunc(all, byPlace)
	return reading{c, doc, all}
}

func byPlace(a, b *json5.Error) int {
	return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
}

// mistakesOf returns the mistakes of a file that err of package json5 stands for.
func mistakesOf(err error) json5.Errors {
	if all, ok := errors.AsType[json5.Errors](err); ok {
		return all
	}
	if one, ok := errors.AsType[*json5.Error](err); ok {
		return json5.Errors{one}
	}
	return nil
}
