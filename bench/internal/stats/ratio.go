package stats

import "slices"

// Median returns the median of v, the mean of the two middle values when their
// number is even, and 0 when there are none. It leaves v as it is.
func Median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	if len(s) == 0 {
		return 0
	}
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

// Ratio is a figure relative to that of a reference: the median over the rounds
// in which both were measured of the ratio within the round, and the smallest
// and largest of these ratios.
type Ratio struct {
	Median, Min, Max float64
	Rounds           int
}

// RatioOf compares the figure of each round (by round number) with the
// reference's. A round that lacks either, or where either is 0, is left out.
//
// Ratios are taken within a round because what disturbs a shared machine lasts
// longer than one run: both runs of a round meet it alike.
func RatioOf(figure, reference map[int]float64) Ratio {
	var v []float64
	for round, f := range figure {
		if ref := reference[round]; f > 0 && ref > 0 {
			v = append(v, f/ref)
		}
	}
	if len(v) == 0 {
		return Ratio{}
	}
	return Ratio{Median: Median(v), Min: slices.Min(v), Max: slices.Max(v), Rounds: len(v)}
}
