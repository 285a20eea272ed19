package echomodel

import (
	"cmp"
	"slices"
	"strconv"
)

// This file answers the routes of pooling models in vLLM's shapes. Scores come from a hash: plausible, always the same
// for the same texts, and meaningless.

func servePooling(x *exchange) error {
	inputs, err := x.inputs()
	if err != nil {
		return err
	}
	b := x.appendList(x.buf, "pool-")
	for i, text := range inputs {
		b = append(x.appendItemHead(b, i, "pooling"), `,"data":`...)
		b = append(appendVector(b, vector(text, defaultDimensions)), '}')
	}
	x.buf = x.endList(b, inputs)
	return x.json(x.buf)
}

func serveClassify(x *exchange) error {
	inputs, err := x.inputs()
	if err != nil {
		return err
	}
	b := x.appendList(x.buf, "classify-")
	for i, text := range inputs {
		p := score(nil, text)
		label := 0
		if p < 0.5 {
			label = 1
		}
		b = strconv.AppendInt(append(x.appendItemHead(b, i, ""), `,"label":"LABEL_`...), int64(label), 10)
		b = append(b, `","probs":`...)
		b = appendVector(b, []float32{float32(p), 1 - float32(p)})
		b = append(b, `,"num_classes":2}`...)
	}
	x.buf = x.endList(b, inputs)
	return x.json(x.buf)
}

// inputs returns the texts of "input", after the wait for them.
func (x *exchange) inputs() ([][]byte, error) {
	if x.req.input == nil {
		return nil, badRequest("input", "Field required")
	}
	inputs, err := texts(x.req.input)
	if err != nil {
		return nil, err
	}
	return inputs, x.think(1)
}

// serveScore pairs text_1 with text_2: one with each, or each with its counterpart.
func serveScore(x *exchange) error {
	if x.req.text1 == nil || x.req.text2 == nil {
		return badRequest("text_1", "text_1 and text_2: Field required")
	}
	first, err := texts(x.req.text1)
	if err != nil {
		return err
	}
	second, err := texts(x.req.text2)
	if err != nil {
		return err
	}
	if len(first) != len(second) && len(first) != 1 || len(first) == 0 {
		return badRequest("text_1", "Input lengths must be either 1:1, 1:N or N:N")
	}
	if err := x.think(1); err != nil {
		return err
	}
	b := x.appendList(x.buf, "score-")
	for i := range second {
		b = append(x.appendItemHead(b, i, "score"), `,"score":`...)
		b = strconv.AppendFloat(b, score(first[i%len(first)], second[i]), 'g', 6, 64)
		b = append(b, '}')
	}
	x.buf = x.endList(b, append(first, second...))
	return x.json(x.buf)
}

// serveRerank sorts documents, texts or objects with a text, by their score to the query.
func serveRerank(x *exchange) error {
	query, ok := textOf(x.req.query)
	if !ok || x.req.documents == nil {
		return badRequest("query", "query and documents: Field required")
	}
	documents, err := texts(x.req.documents)
	if err != nil {
		return err
	}
	if err := x.think(1); err != nil {
		return err
	}
	type result struct {
		index int
		score float64
	}
	results := make([]result, len(documents))
	tokens := countBlanks(query)
	for i, d := range documents {
		results[i] = result{i, score(query, d)}
		tokens += countBlanks(d)
	}
	slices.SortStableFunc(results, func(a, b result) int { return cmp.Compare(b.score, a.score) })
	if n := x.req.topN; n > 0 && n < len(results) {
		results = results[:n]
	}
	b := appendID(append(x.buf, `{"id":"`...), "rerank-")
	b = append(append(b, `","model":"`...), x.req.model...)
	b = strconv.AppendInt(append(b, `","usage":{"total_tokens":`...), int64(tokens), 10)
	b = append(b, `},"results":[`...)
	for i, r := range results {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(append(b, `{"index":`...), int64(r.index), 10)
		b = append(append(b, `,"document":{"text":"`...), documents[r.index]...)
		b = strconv.AppendFloat(append(b, `"},"relevance_score":`...), r.score, 'g', 6, 64)
		b = append(b, '}')
	}
	x.buf = append(b, "]}"...)
	return x.json(x.buf)
}
