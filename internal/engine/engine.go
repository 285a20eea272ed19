// Package engine knows the servers that models run on: which paths tell how they are, which
// models they have and how much they have to do, and how to read the answers. It opens no
// connection; how to ask a path is given to it.
//
//	s := engine.NewServer("", get)      // or its name, if that is known
//	facts, err := s.Survey(ctx)         // engine, version, models: now and then
//	look, err := s.Look(ctx, true)      // readiness and gauges: often
//
// Nothing that it asks makes an engine compute a token.
package engine

// Name is that of a server program.
type Name string

// The engines that are known. Generic is any other one: it is asked for its models only.
const (
	VLLM     Name = "vllm"
	SGLang   Name = "sglang"
	LlamaCpp Name = "llama.cpp"
	Ollama   Name = "ollama"
	TGI      Name = "tgi"
	Generic  Name = "generic"
)

// Names returns all names, as strings for files and texts.
func Names() []string {
	return []string{string(VLLM), string(SGLang), string(LlamaCpp), string(Ollama), string(TGI), string(Generic)}
}

// Model is one that a server has.
type Model struct {
	ID      string // as requests name it
	Context int    // tokens that prompt and answer may have together; 0 if the server does not tell
}

// Facts is what a server says of itself. It is not changed once it has been handed out.
type Facts struct {
	Engine  Name
	Version string  // "" if it does not tell, at most 100 bytes
	Models  []Model // in the server's order, at most 10,000; nil if it has told of none so far
}

// Model returns the model of that ID, ok only if the server has told of it.
func (f *Facts) Model(id string) (m Model, ok bool) {
	for _, m := range f.Models {
		if m.ID == id {
			return m, true
		}
	}
	return Model{}, false
}
