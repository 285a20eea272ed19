package aigateway

import (
	"encoding/hex"
	"math/rand/v2"
)

// newRequestID returns a name for one request that no other has: 128 random bits.
// It need not be a secret, so the fast generator will do.
func newRequestID() string {
	var raw [16]byte
	a, b := rand.Uint64(), rand.Uint64()
	for i := range 8 {
		raw[i], raw[8+i] = byte(a>>(8*i)), byte(b>>(8*i))
	}
	var text [32]byte
	hex.Encode(text[:], raw[:])
	return string(text[:])
}

// safeID reports whether a client's own name for its request may go into headers
// and logs: at most 128 characters that steer nothing.
func safeID(id string) bool {
	return id != "" && len(id) <= 128 && canonicalName(id)
}
