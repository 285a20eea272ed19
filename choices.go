package aigateway

import (
	"bytes"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/openai"
	"github.com/simpleaigateway/caddy-ai-gateway/internal/splice"
)

// choices is how many choices an answer may have.
type choices uint8

const (
	choicesUnread choices = iota
	choicesOne
	choicesSeveral
)

// severalChoices reports whether the answer may have more than one choice. It is
// asked for streams alone; n and lists of prompts are rare.
func (x *exchange) severalChoices() bool {
	if x.choices == choicesUnread {
		x.choices = choicesOne
		if x.readsSeveral() {
			x.choices = choicesSeveral
		}
	}
	return x.choices == choicesSeveral
}

func (x *exchange) readsSeveral() bool {
	body := x.body.bytes
	if x.ask.form != askJSON || !bytes.Contains(body, []byte(`"n"`)) && x.route.stream != openai.Completions {
		return false
	}
	var found [2]splice.Value
	if splice.Scan(body, maxDepth, []string{"n", "prompt"}, found[:]) != nil {
		return true
	}
	n := string(found[0].Raw(body))
	return found[0].Found() && n != "1" && n != "null" || found[1].Kind(body) == "an array"
}
