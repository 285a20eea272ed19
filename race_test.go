//go:build race

package aigateway

// raceDetector says that these tests run by a tenth of their speed.
const raceDetector = true
