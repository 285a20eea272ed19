package echomodel

import (
	"encoding/base64"
	"encoding/binary"
	"hash/fnv"
	"math"
	"strconv"
)

// defaultDimensions is small on purpose: the vectors are to be told apart, not to be searched.
const defaultDimensions = 8

// serveEmbeddings answers /v1/embeddings. The same text has the same vector, of length 1, in every process.
func serveEmbeddings(x *exchange) error {
	if x.req.input == nil {
		return badRequest("input", "Field required")
	}
	inputs, err := texts(x.req.input)
	if err != nil {
		return err
	}
	if err := x.think(1); err != nil {
		return err
	}
	dimensions := x.req.dimensions
	if dimensions == 0 {
		dimensions = defaultDimensions
	}
	b := x.appendList(x.buf, "embd-")
	for i, text := range inputs {
		b = x.appendItemHead(b, i, "embedding")
		b = append(b, `,"embedding":`...)
		if x.req.base64 {
			b = append(b, '"')
			b = base64.StdEncoding.AppendEncode(b, littleEndian(vector(text, dimensions)))
			b = append(b, `"}`...)
		} else {
			b = append(appendVector(b, vector(text, dimensions)), '}')
		}
	}
	x.buf = x.endList(b, inputs)
	return x.json(x.buf)
}

// vector makes a direction out of a text's hash.
func vector(text []byte, dimensions int) []float32 {
	state := hash(text)
	v := make([]float32, dimensions)
	var sum float64
	for i := range v {
		state += 0x9e3779b97f4a7c15
		v[i] = float32(mix(state)>>40)/(1<<23) - 1 // 24 bits, from -1 up to 1
		sum += float64(v[i]) * float64(v[i])
	}
	if sum == 0 {
		v[0], sum = 1, 1
	}
	for i := range v {
		v[i] /= float32(math.Sqrt(sum))
	}
	return v
}

// score is a number from 0 up to 1 for a pair of texts, always the same.
func score(a, b []byte) float64 { return float64(mix(hash(a)^mix(hash(b)))>>40) / (1 << 24) }

func hash(text []byte) uint64 {
	h := fnv.New64a()
	_, _ = h.Write(text) // never fails
	return h.Sum64()
}

// mix is the end of splitmix64: near texts, whose FNV hashes are near too, come out far apart.
func mix(z uint64) uint64 {
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

func appendVector(b []byte, v []float32) []byte {
	for i, f := range v {
		if i == 0 {
			b = append(b, '[')
		} else {
			b = append(b, ',')
		}
		b = strconv.AppendFloat(b, float64(f), 'g', -1, 32)
	}
	return append(b, ']')
}

func littleEndian(v []float32) []byte {
	b := make([]byte, 0, 4*len(v))
	for _, f := range v {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(f))
	}
	return b
}

// appendList begins a list of results as embeddings, pooling, score and classify have it.
func (x *exchange) appendList(b []byte, idPrefix string) []byte {
	b = appendID(append(b, `{"id":"`...), idPrefix)
	b = strconv.AppendInt(append(b, `","object":"list","created":`...), now(), 10)
	b = append(append(b, `,"model":"`...), x.req.model...)
	return append(b, `","data":[`...)
}

// appendItemHead begins one result; object "" leaves that member out.
func (x *exchange) appendItemHead(b []byte, i int, object string) []byte {
	if i > 0 {
		b = append(b, ',')
	}
	b = strconv.AppendInt(append(b, `{"index":`...), int64(i), 10)
	if object != "" {
		b = append(append(append(b, `,"object":"`...), object...), '"')
	}
	return b
}

// endList ends the list with the usage of the texts.
func (x *exchange) endList(b []byte, inputs [][]byte) []byte {
	n := 0
	for _, text := range inputs {
		n += countBlanks(text)
	}
	b = strconv.AppendInt(append(b, `],"usage":{"prompt_tokens":`...), int64(n), 10)
	b = strconv.AppendInt(append(b, `,"total_tokens":`...), int64(n), 10)
	return append(b, `,"completion_tokens":0,"prompt_tokens_details":null}}`...)
}
