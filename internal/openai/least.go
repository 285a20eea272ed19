package openai

import "bytes"

// hanPerToken is how many Chinese characters one token has at most. The longest in the
// vocabularies of Qwen, DeepSeek, GLM and OpenAI's o200k have about 11.
const hanPerToken = 16

// LeastTokens returns a number of tokens that the prompt of a request surely has, whatever
// the tokenizer: its words, or a sixteenth of its Chinese characters if that is more. Text
// that is neither counts for nothing. Body is the request's JSON, of any dialect, valid and
// not nested deeper than maxLeastDepth; otherwise the number is 0.
//
// A word is a run without white space that has a letter or a digit. Tokenizers split text
// into words before they merge bytes into tokens (the patterns of GPT-2, cl100k, o200k,
// Llama 3, Qwen and DeepSeek take one blank at most, and that before a word; SentencePiece
// has split_by_whitespace), so each word is a token at the least. Bytes say less: white
// space and repeated characters become tokens of up to 128 bytes, and images none at all.
//
// Counted are the texts that templates put into the prompt: content, text, output, input,
// prompt, system and instructions in the members messages, input, prompt, system and
// instructions. Of a batch of prompts the longest counts. What stands before the end of a
// model's thoughts is left out, as templates leave it out of later turns.
func LeastTokens(body []byte) int {
	l := leastCounter{text: body}
	for i := 0; i < len(body); {
		i = l.step(i)
	}
	return l.total + l.batch
}

// maxLeastDepth bounds the nesting that is followed.
const maxLeastDepth = 256

// leastCounter walks over a request once.
type leastCounter struct {
	text   []byte
	frames [maxLeastDepth]leastFrame
	depth  int
	within bool // the member of the request has a prompt
	total  int
	batch  int // of the longest prompt of a batch
}

// leastFrame is an object or array around the place.
type leastFrame struct {
	object bool
	counts bool // strings at this place belong to the prompt
}

// step takes what stands at i and returns where it goes on.
func (l *leastCounter) step(i int) int {
	switch c := l.text[i]; c {
	case '{', '[':
		if l.depth == maxLeastDepth {
			l.total, l.batch = 0, 0
			return len(l.text)
		}
		f := leastFrame{object: c == '{'}
		if l.depth > 0 && !f.object {
			f.counts = l.frames[l.depth-1].counts
		}
		l.frames[l.depth] = f
		l.depth++
	case '}', ']':
		l.depth = max(0, l.depth-1)
	case '"':
		return l.str(i + 1)
	}
	return i + 1
}

// str takes the string whose text begins at i.
func (l *leastCounter) str(i int) int {
	end := i
	for {
		n := bytes.IndexByte(l.text[end:], '"')
		if n < 0 {
			return len(l.text)
		}
		end += n
		slashes := end
		for slashes > i && l.text[slashes-1] == '\\' {
			slashes--
		}
		if (end-slashes)%2 == 0 {
			break
		}
		end++
	}
	if l.depth == 0 {
		return end + 1
	}
	f, text := &l.frames[l.depth-1], l.text[i:end]
	if f.object {
		next := end + 1
		for next < len(l.text) && (l.text[next] == ' ' || l.text[next] == '\n' || l.text[next] == '\r' || l.text[next] == '\t') {
			next++
		}
		if next < len(l.text) && l.text[next] == ':' {
			l.name(f, text)
			return next + 1
		}
	}
	switch {
	case !f.counts || !l.within:
	case !f.object && l.depth == 2:
		l.batch = max(l.batch, leastOf(text))
	default:
		l.total += leastOf(text)
	}
	return end + 1
}

// name takes the name of the member that follows in f.
func (l *leastCounter) name(f *leastFrame, name []byte) {
	switch string(name) {
	case "input", "prompt", "system", "instructions":
		f.counts = true
	case "content", "text", "output":
		f.counts = l.depth > 1
	default:
		f.counts = false
	}
	if l.depth == 1 {
		l.within = f.counts || string(name) == "messages"
	}
}

// thoughtsEnd is the end of a model's thoughts in the texts of its turns, </think>, with
// its brackets escaped or not.
var thoughtsEnd = []byte("/think")

// leastOf returns the tokens of a string's text as it stands.
func leastOf(s []byte) int {
	if n := bytes.LastIndex(s, thoughtsEnd); n >= 0 {
		s = s[n+len(thoughtsEnd):]
	}
	words, han, word := 0, 0, false
	for i := 0; i < len(s); i++ {
		switch kind := byteKinds[s[i]]; {
		case kind == byteOther:
		case kind == byteSpace:
			word = false
		case kind == byteEscape:
			if i++; i >= len(s) {
				break
			}
			switch s[i] {
			case 'n', 'r', 't', 'f', 'b':
				word = false
			case 'u':
				if i+1 < len(s) && s[i+1] >= '5' && s[i+1] <= '9' { // nearly all Chinese: U+5000 to U+9FFF
					han++
				}
				i += 4
			}
		default:
			if kind == byteHan {
				han++
			}
			if !word {
				word = true
				words++
			}
		}
	}
	return max(words, han/hanPerToken)
}

// byteKind is what a byte of a string means for the number of its tokens.
type byteKind uint8

const (
	byteOther  byteKind = iota // punctuation, and bytes within a character
	byteSpace                  // ends a word
	byteEscape                 // begins an escape
	byteWord                   // makes a word
	byteHan                    // makes a word, and begins a Chinese character
)

// byteKinds are those of all bytes. Characters that begin with C2, E2 or E3 make no word:
// the white space outside of ASCII is among them.
var byteKinds = func() (kinds [256]byteKind) {
	for c := range kinds {
		switch {
		case c <= ' ':
			kinds[c] = byteSpace
		case c == '\\':
			kinds[c] = byteEscape
		case c >= 0xe4 && c <= 0xe9:
			kinds[c] = byteHan
		case c >= '0' && c <= '9', c >= 'A' && c <= 'Z', c >= 'a' && c <= 'z', c >= 0xc3 && c <= 0xf4 && c != 0xe2 && c != 0xe3:
			kinds[c] = byteWord
		}
	}
	return kinds
}()
