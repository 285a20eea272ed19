//go:build !race

package hourly

const raceDetector = false
