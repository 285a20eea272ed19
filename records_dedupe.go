package aigateway

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/rawjson"
)

// conversations knows which conversations others go on with. Every request repeats
// the conversation so far, so that a talk of ten answers is ten records, each with
// all turns of the one before.
//
// It holds a hash of 64 bits for each answer of each conversation and model, some
// twenty bytes in all, and no text. The hashes are seeded: nobody can choose turns that
// collide, and by chance one of ten million records is lost with a probability of
// about 10^-5.
//
// Turns are compared as they stand. Where a client does not send a model's reasoning
// back, the answer with it is another turn than the one without, and both records
// stay: the reasoning is in the former only.
type conversations struct {
	seed   maphash.Seed
	within map[uint64]struct{} // conversations that a longer record holds, or one that was written
	sums   []uint64
	text   []byte
}

func newConversations() *conversations {
	return &conversations{seed: maphash.MakeSeed(), within: make(map[uint64]struct{})}
}

// learn remembers all conversations that the record goes on with.
func (c *conversations) learn(line []byte) {
	c.sums = c.sums[:0]
	whole := c.hash(line, func(sum uint64) { c.sums = append(c.sums, sum) })
	for _, sum := range c.sums {
		if sum != whole {
			c.within[sum] = struct{}{}
		}
	}
}

// sum returns what the record's whole conversation is known by.
func (c *conversations) sum(line []byte) uint64 { return c.hash(line, func(uint64) {}) }

// holds reports whether another record goes on with the conversation, or is the same.
func (c *conversations) holds(sum uint64) bool {
	_, ok := c.within[sum]
	return ok
}

// add remembers a conversation that has been written, so that it is not again.
func (c *conversations) add(sum uint64) { c.within[sum] = struct{}{} }

// hash returns the hash of the whole conversation and gives that up to and with each
// turn of the model.
func (c *conversations) hash(line []byte, answer func(sum uint64)) (whole uint64) {
	var h maphash.Hash
	h.SetSeed(c.seed)
	add := func(value []byte) []byte {
		c.text, _ = rawjson.AppendText(c.text[:0], value)
		var size [8]byte
		binary.LittleEndian.PutUint64(size[:], uint64(len(c.text)))
		_, _ = h.Write(size[:]) // else "ab", "c" would be "a", "bc"
		_, _ = h.Write(c.text)  // never fails
		return c.text
	}
	var media [len(mediaColumns)]rawjson.Walk
	var model, turns []byte
	for m := rawjson.Object(line); m.Next(); {
		switch string(m.Key) {
		case "model":
			model = m.Value
		case "conversations":
			turns = m.Value
		default:
			for i := range mediaColumns {
				if string(m.Key) == mediaColumns[i].name {
					media[i] = rawjson.Array(m.Value)
				}
			}
		}
	}
	add(model)
	for t := rawjson.Array(turns); t.Next(); {
		role := string(add(memberOf(t.Value, "from")))
		text := add(memberOf(t.Value, "value"))
		var tags [len(mediaColumns)]int
		for i := range mediaColumns {
			tags[i] = bytes.Count(text, []byte(mediaColumns[i].tag))
		}
		for i := range media { // the same words about another picture are another turn
			for n := 0; n < tags[i] && media[i].Next(); n++ {
				add(media[i].Value)
			}
		}
		if role == "gpt" || role == "function_call" {
			answer(h.Sum64())
		}
	}
	return h.Sum64()
}
