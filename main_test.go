package aigateway

import (
	"os"
	"testing"
)

// TestMain lets gateways of tests ask instances nothing but what clients ask: many of those
// instances count. Tests of the poller start one.
func TestMain(m *testing.M) {
	pollsEngines = false
	os.Exit(m.Run())
}
