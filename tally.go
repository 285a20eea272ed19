package aigateway

import "time"

// tallyBuckets is the resolution in which results leave a tally's window.
const tallyBuckets = 10

// tally counts results over a window that moves along in tenths.
type tally struct {
	buckets [tallyBuckets]struct {
		epoch             int64 // number of the slice of time that the counts belong to
		results, failures int
	}
}

func (t *tally) count(now, window time.Duration, failed bool) {
	epoch := tallyEpoch(now, window)
	b := &t.buckets[epoch%tallyBuckets]
	if b.epoch != epoch {
		b.epoch, b.results, b.failures = epoch, 0, 0
	}
	b.results++
	if failed {
		b.failures++
	}
}

// sum returns how many results and how many failures lie in the window.
func (t *tally) sum(now, window time.Duration) (results, failures int) {
	epoch := tallyEpoch(now, window)
	for _, b := range t.buckets {
		if b.epoch > epoch-tallyBuckets && b.epoch <= epoch {
			results += b.results
			failures += b.failures
		}
	}
	return results, failures
}

func tallyEpoch(now, window time.Duration) int64 {
	return int64(now/(window/tallyBuckets)) + tallyBuckets
}
