/*
 * What a model's parts are called in a GGUF file, and where they lie: names of
 * architectures and tensors, and the order of the rows of q and k, which the
 * architecture "llama" has changed.
 */
#ifndef SQ_MODEL_GGUF_NAMES_H
#define SQ_MODEL_GGUF_NAMES_H

#include "formats/fmt_gguf.h"
#include "model/config.h"

#define SQ_GGUF_ROPE	"rope_freqs.weight"	/* divisors of frequencies */

/* "llama", "qwen2", "qwen3", "qwen3moe", or NULL. */
const char *sq_gguf_arch(const struct sq_config *);

/* The name in architectures that goes with it, with experts or without, or
 * NULL. */
const char *sq_gguf_hf_arch(const struct sq_gguf_str *arch, int experts);

/* The tensor's name there; that of an expert is a slice of one that has all of
 * a layer. */
void	 sq_gguf_slot_name(const struct sq_slot *, char name[SQ_GGUF_NAME]);

/* Heads whose rows change their order: 0 for all but q and k of "llama". */
uint64_t sq_gguf_permuted(const struct sq_config *, const struct sq_slot *);

/* Where row i of such a tensor of that many rows and heads is in the file:
 * halves of a head, one after the other here, are interleaved there. */
static inline uint64_t
sq_gguf_row(uint64_t i, uint64_t rows, uint64_t heads)
{
	uint64_t dim = heads == 0 ? 1 : rows / heads, at = i % dim;

	if (heads == 0)
		return i;
	return i - at + 2 * (at % (dim / 2)) + at / (dim / 2);
}

/* The other way: the row here that is row i of the file. */
static inline uint64_t
sq_gguf_row_of(uint64_t i, uint64_t rows, uint64_t heads)
{
	uint64_t dim = heads == 0 ? 1 : rows / heads, at = i % dim;

	if (heads == 0)
		return i;
	return i - at + at % 2 * (dim / 2) + at / 2;
}

#endif
