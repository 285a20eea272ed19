//go:build !race

package aigateway

const raceDetector = false
