package aigateway

import "time"

const (
	// sparkTime and sparks are the width and the number of the sparkline's points:
	// 15 minutes.
	sparkTime = 15 * time.Second
	sparks    = 60
	// rateSparks are the whole points that rates are taken from, beside the present
	// one: the last minute, and up to 15 s more.
	rateSparks = 4
	// slotTime and slots are those of times: the last 5 minutes, and up to one more.
	slotTime = time.Minute
	slots    = 6
)

// recent is what is kept of an instance's last minutes, in rings of fixed size: with
// the histogram beside it 7.4 KB for an instance that has been asked. It is guarded by the lock of [instanceCounts].
type recent struct {
	since     time.Duration // of the first attempt
	points    [sparks]point
	times     [slots]slot
	errorAt   time.Duration
	lastError attemptEnd // if errorAt is not 0
}

// point is what ended in sparkTime.
type point struct {
	epoch                    int64 // number of the slice of time, from 1
	requests, errors, tokens uint32
}

// slot is the times that were measured in slotTime.
type slot struct {
	epoch     int64
	ttft, itl spread
}

// epochOf returns the number of the slice of time that now is in, from 1.
func epochOf(now, width time.Duration) int64 { return int64(now/width) + 1 }

func (r *recent) slot(now time.Duration) *slot {
	epoch := epochOf(now, slotTime)
	s := &r.times[epoch%slots]
	if s.epoch != epoch {
		*s = slot{epoch: epoch}
	}
	return s
}

func (r *recent) settle(end attemptEnd, tokens int64, now time.Duration) {
	epoch := epochOf(now, sparkTime)
	p := &r.points[epoch%sparks]
	if p.epoch != epoch {
		*p = point{epoch: epoch}
	}
	if r.since == 0 {
		r.since = now
	}
	p.tokens += uint32(tokens)
	if end.outcome == outcomeCanceled || end.outcome == outcomeShutdown {
		return
	}
	p.requests++
	if end.errs() {
		p.errors++
		r.errorAt, r.lastError = now, end
	}
}

// instanceStats is what an instance has done in the last minutes. Requests are
// attempts that ended, but for those that the client or the end of the process cut
// off; errors are those of outcome busy, misconfigured, failed or truncated.
type instanceStats struct {
	RequestsPerSecond float64     `json:"requests_per_second"` // over the last minute, as the next two
	TokensPerSecond   float64     `json:"tokens_per_second"`   // completion tokens of the answers that ended
	ErrorShare        float64     `json:"error_share"`         // errors ÷ requests, 0 to 1
	TTFT              quantiles   `json:"ttft"`                // of streams, from the attempt's beginning; over 5 minutes
	ITL               quantiles   `json:"itl"`                 // between the chunks of streams; over 5 minutes
	LastError         *lastError  `json:"last_error,omitempty"`
	Sparkline         []sparkline `json:"sparkline"` // 60 points of 15 s, the oldest first; the last is under way
}

// quantiles are in seconds, 0 if nothing was measured.
type quantiles struct {
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
}

// lastError is an instance's last error since it stands in the file.
type lastError struct {
	Time    time.Time `json:"time"`
	Outcome string    `json:"outcome"`
	Reason  reason    `json:"reason"`
}

// sparkline is one point.
type sparkline struct {
	Requests uint32 `json:"requests"`
	Errors   uint32 `json:"errors"`
}

// statistics returns the statistics of i at now, a reading of [clock]. They outlive
// swaps and reloads as the instance's state does. It may be called from any goroutine.
func (i *instance) statistics(now time.Duration) instanceStats {
	c := &i.state.counts
	c.mu.Lock()
	defer c.mu.Unlock()
	stats := instanceStats{Sparkline: make([]sparkline, sparks)}
	r := c.recent
	if r == nil {
		return stats
	}
	r.rates(now, &stats)
	var ttft, itl spread
	for n := range r.times {
		s := &r.times[n]
		if age := epochOf(now, slotTime) - s.epoch; s.epoch == 0 || age >= slots {
			continue
		}
		for class := range s.ttft {
			ttft[class] += s.ttft[class]
			itl[class] += s.itl[class]
		}
	}
	stats.TTFT = quantiles{ttft.quantile(0.5).Seconds(), ttft.quantile(0.99).Seconds()}
	stats.ITL = quantiles{itl.quantile(0.5).Seconds(), itl.quantile(0.99).Seconds()}
	if r.errorAt > 0 {
		stats.LastError = &lastError{time.Now().Add(r.errorAt - now), r.lastError.outcome.String(), r.lastError.reason}
	}
	return stats
}

// rates fills in the sparkline and what is taken from its last points.
func (r *recent) rates(now time.Duration, stats *instanceStats) {
	var requests, errs, tokens float64
	for _, p := range r.points {
		age := epochOf(now, sparkTime) - p.epoch
		if p.epoch == 0 || age < 0 || age >= sparks {
			continue
		}
		stats.Sparkline[sparks-1-age] = sparkline{p.requests, p.errors}
		if age <= rateSparks {
			requests += float64(p.requests)
			errs += float64(p.errors)
			tokens += float64(p.tokens)
		}
	}
	span := min(now%sparkTime+rateSparks*sparkTime, max(time.Second, now-r.since)).Seconds()
	stats.RequestsPerSecond, stats.TokensPerSecond = requests/span, tokens/span
	if requests > 0 {
		stats.ErrorShare = errs / requests
	}
}
