package main

import "time"

// hardware is what an engine runs on: a GPU, a model, and vLLM's settings. Times follow the
// roofline: a step of the engine takes as long as reading the weights or computing its
// tokens, whichever is longer, and then as long as reading what its requests have in the
// KV cache.
type hardware struct {
	name      string
	weights   time.Duration // of a step, however small
	token     time.Duration // of computing one token
	context   time.Duration // of reading the KV cache of one token
	kvBlocks  int           // of 16 tokens
	maxSeqs   int           // requests that are computed at once
	maxTokens int           // of a step: longer prompts are computed in chunks
}

// blockTokens is vLLM's --block-size.
const blockTokens = 16

// The model is Llama 3.1 8B in BF16: 8.03e9 parameters, of which each token needs two
// operations, and 131,072 bytes of KV cache for each token (32 layers, 8 heads of 128, keys
// and values). Computing is taken to reach half of what the data sheet says, as large matrix
// products do, and reading the memory three quarters.
//
// Of vLLM's settings max_num_seqs is 256 and max_num_batched_tokens 2048, the defaults of its
// server (V1 engine) for these GPUs, with chunked prefill and prefix caching on.
var (
	// a100 is an A100 of 40 GB: 312 TFLOPS, 1,555 GB/s. A single request gets 75 tokens/s of
	// it (measured with vLLM 0.23: johnmusgrave.com/p/vllm-throughput-latency-sweep-on), and
	// vLLM finds room for 5,691 blocks (vllm-project/vllm, issue 12330, with this model).
	a100 = hardware{
		name: "A100", weights: 13300 * time.Microsecond, token: 103 * time.Microsecond, context: 112 * time.Nanosecond,
		kvBlocks: 5691, maxSeqs: 256, maxTokens: 2048,
	}
	// a10 is an A10 of 24 GB: 125 TFLOPS, 600 GB/s. Of its memory 0.9 is used, 16.1 GB for
	// weights and about 1.5 GB for activations: 3.9 GB are left, 1,850 blocks.
	a10 = hardware{
		name: "A10", weights: 35700 * time.Microsecond, token: 257 * time.Microsecond, context: 291 * time.Nanosecond,
		kvBlocks: 1850, maxSeqs: 256, maxTokens: 2048,
	}
)
