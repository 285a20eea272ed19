//go:build race

package integration

// raceFlag builds the binary as these tests are built: its races come to light,
// and what has been compiled for them is used again.
const raceFlag = "-race"

// slower is how many times longer the race detector lets a process take.
const slower = 4
