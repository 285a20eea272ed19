package aigateway

import (
	"crypto/sha256"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/balance"
)

// instanceState is what the gateway has learnt of an instance. The store keeps
// it while the instance's ID stays in the file, over swaps and reloads.
type instanceState struct {
	host     reverseproxy.Host // Caddy's own counter, read by its policies
	inFlight atomic.Int64      // attempts, each counted once from choice to end
	health   health
	counts   instanceCounts
	load     balance.Load
	slowness atomic.Pointer[slowness] // nil until a stream of the instance has begun
	facts    atomic.Pointer[facts]    // nil until the instance has told something of itself
	told     atomic.Pointer[toldLoad] // for people; nil until it has told of its load
	restTold atomic.Bool              // subscribers know that it rests
	key      [sha256.Size]byte        // digest of the key in force, guarded by the store's mu as place
	place    string                   // see [entryID]
	drain    atomic.Bool              // by the file in force or by hand, also for requests that came before
	most     atomic.Int64             // max_concurrency of the file in force, also for those
	drained  bool                     // by hand, guarded by the store's mu
	// newest is the instance of the snapshot in force, nil once it has left the file.
	newest atomic.Pointer[instance]
}
