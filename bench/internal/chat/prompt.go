// Package chat is the conversation that the mock upstream and the load
// generator hold: both derive it from the same few numbers, so that either side
// knows every byte the other should have sent.
//
// A request is an ordinary chat completion with one more member, in which the
// load generator orders its answer:
//
//	{"model":"mock-model","messages":[…],"temperature":0.7,"stream":true,
//	 "stream_options":{"include_usage":true},
//	 "mock":{"seed":100000001,"tokens":200,"gap_ms":50}}
//
// The answer's id and words follow from the seed, its system_fingerprint from
// the messages as they arrived, byte for byte. An answer that reached the wrong
// client, a lost, doubled, changed or re-ordered event, and a prompt that was
// changed on its way are thus all seen by comparing bytes.
package chat

// words are what prompts are made of.
var words = []string{
	"the", "of", "model", "and", "request", "to", "in", "answer", "token", "stream", "is", "that", "it",
	"for", "was", "server", "on", "are", "as", "with", "queue", "they", "at", "be", "this", "from", "have",
	"or", "by", "one", "had", "not", "but", "what", "all", "were", "when", "memory", "we", "there", "can",
	"an", "your", "which", "their", "said", "if", "do", "will", "each", "about", "how", "latency",
}

// breaks stand between the runs of words, in JSON form: what makes a string
// slow to scan, and what a scan may stumble over, down to a quoted request.
var breaks = []string{
	`\n`, ` \"quoted\" `, `\n\n`, ` naïve café `, ` \"it is\", `, `\n- `, ` “漢字” 🙂 `, `.\n`, ` a\\b\tc `,
	` {\"model\":\"decoy\",\"stream\":true,\"messages\":[]} `, ` \u00e9 \u4f60 `,
}

// appendPrompt appends n bytes of text in JSON form: words, broken every 60 to
// 80 characters.
func appendPrompt(dst []byte, n int) []byte {
	end := len(dst) + n
	for i, width := 0, 0; ; i++ {
		next := words[(i*i+i/7)%len(words)]
		if width > 60 {
			next, width = breaks[i%len(breaks)], 0
		}
		if len(dst)+len(next)+1 > end {
			break
		}
		dst = append(append(dst, next...), ' ')
		width += len(next) + 1
	}
	for len(dst) < end {
		dst = append(dst, '.')
	}
	return dst
}
