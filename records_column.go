package aigateway

import (
	"bytes"
	"encoding/json"
	"hash/maphash"
	"slices"
	"strconv"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/rawjson"
	"github.com/simpleaigateway/caddy-ai-gateway/internal/sharegpt"
)

// column checks the value of a line's column, which is JSON.
func (v *recordVerifier) column(name string, value []byte) {
	switch name {
	case "conversations":
		v.conversations(value)
		return
	case "created":
		if _, err := strconv.ParseInt(string(value), 10, 64); err != nil {
			v.problem("created is no whole number of 64 bits")
		}
		return
	case "images", "audios", "videos":
		v.media(name, value)
		return
	}
	if !rawjson.IsString(value) {
		v.problem("%s is no text", name)
		return
	}
	v.text, _ = rawjson.AppendText(v.text[:0], value)
	switch name {
	case "id":
		v.id()
	case "tools":
		if !json.Valid(v.text) || !rawjson.IsArray(rawjson.Trim(v.text)) {
			v.problem("tools holds no JSON array")
		}
	case "meta":
		v.meta()
	case "request", "response":
		if len(v.text) > 0 && !json.Valid(v.text) {
			v.problem("%s is neither empty nor JSON", name)
		}
	}
}

func (v *recordVerifier) id() {
	if len(v.text) == 0 {
		v.problem("id is empty")
		return
	}
	sum := maphash.Bytes(v.seed, v.text)
	if _, ok := v.ids[sum]; ok {
		v.problem("id is not unique")
	}
	v.ids[sum] = struct{}{}
}

// meta checks what the record says about its exchange. The folders that trainers read
// hold whole answers only.
func (v *recordVerifier) meta() {
	if !json.Valid(v.text) || !rawjson.IsObject(rawjson.Trim(v.text)) {
		v.problem("meta holds no JSON object")
		return
	}
	status := sharegpt.Status(rawjson.Text(memberOf(v.text, "status")))
	switch {
	case status == "":
		v.problem("meta has no status")
	case v.file.folder != incompleteFolder && status != sharegpt.OK && status != sharegpt.Length:
		v.problem("meta's status is not ok or length, want such in %s only", incompleteFolder)
	}
}

// media checks a list of addresses and that the texts have a placeholder for each.
func (v *recordVerifier) media(name string, value []byte) {
	if !rawjson.IsArray(value) {
		v.problem("%s is no list", name)
		return
	}
	n := 0
	for item := rawjson.Array(value); item.Next(); n++ {
		if !rawjson.IsString(item.Value) {
			v.problem("%s: item %d is no text", name, n)
		}
	}
	i := 0
	for mediaColumns[i].name != name {
		i++
	}
	if n == 0 {
		v.problem("%s is empty", name)
	} else if n != v.tags[i] {
		v.problem("%s has %d items, want %d as there are placeholders %s", name, n, v.tags[i], mediaColumns[i].tag)
	}
}

// turnRoles are the roles that the turns of the two sides may have.
var turnRoles = [2][2]string{{"human", "observation"}, {"gpt", "function_call"}}

// conversations checks the turns: system at most first, then the two sides in turn, the
// model's last.
func (v *recordVerifier) conversations(value []byte) {
	clear(v.tags[:])
	if !rawjson.IsArray(value) {
		v.problem("conversations is no list")
		return
	}
	n, side := 0, 0
	for t := rawjson.Array(value); t.Next(); n++ {
		role, ok := v.turn(n, t.Value)
		if !ok {
			return
		}
		if role == "system" && n == 0 {
			continue
		}
		if !slices.Contains(turnRoles[side][:], role) {
			v.problem("turn %d is from %s, want %s or %s", n, role, turnRoles[side][0], turnRoles[side][1])
			return
		}
		side = 1 - side
	}
	switch {
	case n == 0:
		v.problem("conversations is empty")
	case side == 1:
		v.problem("the last turn is not the model's, want gpt or function_call")
	case n == 1:
		v.problem("conversations has a system turn only")
	}
}

// turn checks one turn by itself and returns its role.
func (v *recordVerifier) turn(n int, turn []byte) (role string, ok bool) {
	if !rawjson.IsObject(turn) {
		v.problem("turn %d is no object", n)
		return "", false
	}
	var from, value []byte
	members := 0
	for m := rawjson.Object(turn); m.Next(); members++ {
		switch {
		case members == 0 && string(m.Key) == "from":
			from = m.Value
		case members == 1 && string(m.Key) == "value":
			value = m.Value
		}
	}
	if members != 2 || from == nil || value == nil {
		v.problem("turn %d has other members than from and value", n)
		return "", false
	}
	if !rawjson.IsString(from) || !rawjson.IsString(value) {
		v.problem("turn %d: from or value is no text", n)
		return "", false
	}
	role = rawjson.Text(from)
	if role != "system" && !slices.Contains(turnRoles[0][:], role) && !slices.Contains(turnRoles[1][:], role) {
		v.problem("turn %d: from is not system, human, gpt, function_call or observation", n) // it may be any text
		return "", false
	}
	v.text, _ = rawjson.AppendText(v.text[:0], value)
	for i := range mediaColumns {
		v.tags[i] += bytes.Count(v.text, []byte(mediaColumns[i].tag))
	}
	if role == "function_call" && !isCalls(v.text) {
		v.problem("turn %d is no call, want a JSON object with name and arguments, or a list of such", n)
	}
	return role, true
}

// isCalls reports whether the value of a function_call turn is one. A trainer stops at
// any other.
func isCalls(text []byte) bool {
	text = rawjson.Trim(text)
	if !json.Valid(text) {
		return false
	}
	if !rawjson.IsArray(text) {
		return isCall(text)
	}
	n := 0
	for c := rawjson.Array(text); c.Next(); n++ {
		if !isCall(c.Value) {
			return false
		}
	}
	return n > 0
}

func isCall(value []byte) bool {
	return rawjson.IsString(memberOf(value, "name")) && memberOf(value, "arguments") != nil
}
