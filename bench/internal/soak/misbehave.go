package soak

import (
	"context"
	"time"
)

// clientFaults are those of clients that speak HTTP well, but leave or are slow.
// Their ends are told by the client itself.
var clientFaults = []*fault{
	{name: "leaves before the answer", row: "C2", pace: `"ttft":"3s","itl":"5ms"`, ends: []string{Left}, client: leaveBefore},
	{name: "leaves in the middle", row: "C3", streams: true, pace: `"ttft":"10ms","itl":"40ms"`, ends: []string{Left}, client: leaveWithin},
	{name: "reads slowly", row: "C4", streams: true, pace: `"ttft":"10ms","itl":"1ms","size":2048`, ends: []string{Whole}, client: readSlowly},
	{name: "HTTP/2", row: "C16", ends: []string{Whole}, client: func(c *Client, p *Plan, o *Outcome) { c.http2().ask(context.Background(), p, o, nil) }},
	{name: "rapid resets", row: "C17", ends: []string{Whole}, client: resets},
}

func leaveBefore(c *Client, p *Plan, o *Outcome) {
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	c.ask(ctx, p, o, nil)
}

func leaveWithin(c *Client, p *Plan, o *Outcome) {
	c.ask(context.Background(), p, o, func(tokens int) error {
		if tokens >= 5 {
			return errLeave
		}
		return nil
	})
}

// readSlowly rests after each token, while the instance sends 2 KB of each.
func readSlowly(c *Client, p *Plan, o *Outcome) {
	c.ask(context.Background(), p, o, func(int) error {
		time.Sleep(20 * time.Millisecond)
		return nil
	})
}

// rapid is how many requests a client resets in a row.
const rapid = 20

// resets begins requests and resets them at once; then makes one in earnest, on the same
// connection.
func resets(c *Client, p *Plan, o *Outcome) {
	c = c.http2()
	slow := *p
	slow.pace = `"ttft":"3s"`
	for range rapid {
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		c.ask(ctx, &slow, o, nil)
		cancel()
		if o.End != Left {
			return
		}
	}
	*o = Outcome{Begun: o.Begun, Replayed: o.Replayed}
	c.ask(context.Background(), p, o, nil)
}
