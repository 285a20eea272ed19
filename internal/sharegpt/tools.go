package sharegpt

import (
	"bytes"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/rawjson"
)

// noParameters are the parameters of a function that names none. LLaMA-Factory
// stops at one without properties.
const noParameters = `{"type":"object","properties":{}}`

// readTools writes the tools of any dialect in that of chat: type, and of the
// function its name, description and parameters.
func (p *Projector) readTools(tools, functions []byte) {
	p.tools = append(p.tools[:0], '[')
	for e := rawjson.Array(tools); e.Next(); {
		p.readTool(e.Value)
	}
	for e := rawjson.Array(functions); e.Next(); {
		p.readTool(e.Value)
	}
	p.tools = append(p.tools, ']')
}

func (p *Projector) readTool(value []byte) {
	if wrapped := field(value, "function"); rawjson.IsObject(wrapped) {
		value = wrapped
	} else if kind := partKind(value); kind != "" && kind != "function" && !(kind == "custom" && rawjson.IsObject(field(value, "input_schema"))) {
		p.conv.flags |= droppedTool // the server's own, or one without a schema
		return
	}
	var name, description, parameters []byte
	for w := rawjson.Object(value); w.Next(); {
		switch string(w.Key) {
		case "name":
			name = w.Value
		case "description":
			description = w.Value
		case "parameters", "input_schema":
			parameters = w.Value
		}
	}
	if !rawjson.IsString(name) {
		p.conv.flags |= droppedTool
		return
	}
	dst := p.tools
	if len(dst) > 1 {
		dst = append(dst, ',')
	}
	dst = rawjson.AppendCompact(append(dst, `{"type":"function","function":{"name":`...), name, nil)
	dst = append(dst, `,"description":`...)
	if rawjson.IsString(description) {
		dst = rawjson.AppendCompact(dst, description, p.edit)
	} else {
		dst = append(dst, `""`...)
	}
	dst = append(dst, `,"parameters":`...)
	switch {
	case !rawjson.IsObject(parameters):
		dst = append(dst, noParameters...)
	case rawjson.IsObject(field(parameters, "properties")):
		dst = rawjson.AppendCompact(dst, parameters, p.edit)
	default:
		dst = p.appendProperties(dst, parameters)
	}
	p.tools = append(dst, "}}"...)
}

// appendProperties appends parameters that have no properties, with an empty
// object of them.
func (p *Projector) appendProperties(dst, parameters []byte) []byte {
	dst = append(dst, '{')
	for w := rawjson.Object(parameters); w.Next(); {
		if bytes.Equal(w.Key, []byte("properties")) {
			continue
		}
		dst = rawjson.AppendString(dst, w.Key)
		dst = append(dst, ':')
		dst = append(rawjson.AppendCompact(dst, w.Value, p.edit), ',')
	}
	return append(dst, `"properties":{}}`...)
}
