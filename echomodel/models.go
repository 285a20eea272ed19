package echomodel

import (
	"net/http"
	"strconv"
	"time"
)

// maxModelLen is the context length told; nothing enforces it.
const maxModelLen = 32768

func now() int64 { return time.Now().Unix() }

func serveModels(x *exchange) error {
	b := append(x.buf, `{"object":"list","data":[`...)
	for i, model := range x.s.models {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(append(b, `{"id":`...), model)
		b = strconv.AppendInt(append(b, `,"object":"model","created":`...), now(), 10)
		b = appendString(append(b, `,"owned_by":"vllm","root":`...), model)
		b = strconv.AppendInt(append(b, `,"parent":null,"max_model_len":`...), maxModelLen, 10)
		b = append(b, `,"permission":[]}`...)
	}
	x.buf = append(b, "]}"...)
	return x.json(x.buf)
}

func serveFiles(x *exchange) error {
	return x.json([]byte(`{"object":"list","data":[],"first_id":null,"last_id":null,"has_more":false}`))
}

// serveHealth answers 200 and nothing, as vLLM, and 503 as long as the script in force has the fault loading.
func serveHealth(x *exchange) error {
	if x.s.current().Fault == "loading" {
		return failLoading(x)
	}
	x.w.WriteHeader(http.StatusOK)
	return nil
}

func serveVersion(x *exchange) error {
	b := appendString(append(x.buf, `{"version":"echo","name":`...), x.s.opts.Name)
	x.buf = append(b, '}')
	return x.json(x.buf)
}

// serveIsSleeping answers as vLLM does in development mode; the fault sleep says that it does.
func serveIsSleeping(x *exchange) error {
	sleeping := x.s.current().Fault == "sleep"
	return x.json([]byte(`{"is_sleeping":` + strconv.FormatBool(sleeping) + `}`))
}

// serveAdmin stands for what changes or shows the engine.
func serveAdmin(x *exchange) error {
	return x.write(http.StatusOK, "text/plain; charset=utf-8", []byte("engine admin route\n"))
}
