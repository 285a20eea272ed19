//go:build race

package hourly

// raceDetector says that these tests run by a tenth of their speed.
const raceDetector = true
