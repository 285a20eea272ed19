package main

import "time"

// fits reports whether requests were answered as fast as they came.
func (f *figures) fits(bound time.Duration) bool {
	return f.lost == 0 && len(f.ttft) > 0 && f.quantile(0.99) <= bound
}

// highest simulates at the highest rate at which the bound is kept, to a fiftieth. That
// may be exceeded by chance at a lower rate; then it is one of those at which it changes.
func (u setup) highest(bound time.Duration) figures {
	var best figures
	low, high := 0.0, float64(len(u.boxes))/4
	for ; ; high *= 2 {
		u.rate = high
		f := u.run()
		if !f.fits(bound) {
			break
		}
		low, best = high, f
	}
	for high-low > high/50 {
		u.rate = (low + high) / 2
		if f := u.run(); f.fits(bound) {
			low, best = u.rate, f
		} else {
			high = u.rate
		}
	}
	return best
}
