package sharegpt

import "github.com/simpleaigateway/caddy-ai-gateway/internal/rawjson"

// flags are what a record loses or changes, as bits in the order of their names.
type flags uint16

const (
	badToolArguments flags = 1 << iota
	droppedMedia
	droppedPart
	droppedTool
	mergedTurns
	midSystem
	paddedTurn
	partialHistory
	prefilled
	reasoningWithCall
	refused
	textWithCall
	unknownRole
)

var flagNames = [...]string{
	"bad_tool_arguments",       // arguments that are no JSON are written as a text
	"dropped_media",            // an incomplete record has placeholders, but no lists
	"dropped_part",             // a part that has no place in a text
	"dropped_tool",             // a tool that the server runs
	"merged_turns",             // neighbours of one side were joined
	"mid_system_as_human",      // a system message that is not at the beginning
	"padded_turn",              // an empty turn was put in to keep the order
	"partial_history",          // the server knows turns that the request does not hold
	"prefill",                  // the answer goes on with the request's last message
	"reasoning_with_tool_call", // reasoning beside a call was left out
	"refusal",                  // the text is a refusal
	"text_with_tool_call",      // text beside a call was left out
	"unknown_role",             // a message of another role was taken for the user's
}

// append writes the flags as a JSON array.
func (f flags) append(dst []byte) []byte {
	dst = append(dst, '[')
	for i, name := range flagNames {
		if f&(1<<i) == 0 {
			continue
		}
		if dst[len(dst)-1] != '[' {
			dst = append(dst, ',')
		}
		dst = rawjson.AppendString(dst, []byte(name))
	}
	return append(dst, ']')
}
