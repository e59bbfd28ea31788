/*
 * The weights and the configuration of compressed-tensors checkpoints.  Of a
 * linear layer with R outputs and C inputs:
 *
 *	pack-quantized	weight_packed      I32 [R][ceil(C*b/32)]
 *			weight_scale       [R][groups]
 *			weight_zero_point  I32 [ceil(R*b/32)][groups]
 *			weight_shape       I64 [2]
 *	int-quantized	weight             I8 [R][C]
 *			weight_scale       [R][1], [R][groups] or [1]
 *	float-quantized	weight             F8_E4M3 [R][C]
 *			weight_scale       [1], [R][1] or [R/128][C/128]
 *	mxfp4-pack-quantized
 *			weight_packed      U8 [R][C/2]
 *			weight_scale       U8 [R][C/32]
 *
 * A row of weight_packed is a row of codes of sq-stream(5), padded to words.
 * Zero points are packed down: column g is a bit string over the rows.  Files
 * of before June 2026 have floor(32/b) codes in a word.
 */
#ifndef SQ_FMT_COMPRESSED_TENSORS_H
#define SQ_FMT_COMPRESSED_TENSORS_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum sq_ct_format { SQ_CT_PACKED, SQ_CT_INT, SQ_CT_FLOAT, SQ_CT_MXFP4,
	SQ_CT_FORMATS };
enum sq_ct_strategy { SQ_CT_TENSOR, SQ_CT_CHANNEL, SQ_CT_GROUP, SQ_CT_BLOCK };

/* What activations are quantized to. */
enum sq_ct_act { SQ_CT_ACT_NONE, SQ_CT_ACT_INT8, SQ_CT_ACT_FP8 };

struct sq_ct_scheme {
	enum sq_ct_format format;
	int bits;			/* of a weight */
	int symmetric;
	enum sq_ct_strategy strategy;
	uint64_t group;			/* SQ_CT_GROUP: inputs; else 0 */
	enum sq_ct_act act;
	int act_static;			/* with input_scale; else dynamic */
};

/* "pack-quantized" ... */
const char *sq_ct_format_name(enum sq_ct_format);

/* An object of config_groups; takes targets.  NULL: no memory. */
json_t	*sq_ct_group_json(const struct sq_ct_scheme *, json_t *targets);

/* The object quantization_config; takes groups and ignore.  kv: with scales for
 * the cache of keys and values, in FP8. */
json_t	*sq_ct_config_json(json_t *groups, json_t *ignore, const char *format,
	    int kv);

/*
 * The group of a quantization_config that a module belongs to: by its name, by
 * a regular expression, or by its class Linear, in this order; the first of
 * config_groups stands before the others.  1 with what it says of the weights
 * and activations, 0 when there is none, -1 with the reason.
 */
int	 sq_ct_find(struct sq_ct_scheme *, const json_t *config,
	    const char *module, char *err);

/* Zero points [rows][groups] of b bits; packed is [ceil(rows*b/32)][groups]
 * words, or as in old files.  put: -1 when one does not fit, *worst is it then.
 */
int	 sq_ct_put_zeros(uint32_t *packed, const uint8_t *zeros, size_t rows,
	    size_t groups, int bits, int old, int *worst);
void	 sq_ct_get_zeros(uint8_t *zeros, const uint32_t *packed, size_t rows,
	    size_t groups, int bits);

/* Words of a row of n codes, now and in old files. */
static inline size_t
sq_ct_words(size_t n, int bits)
{
	return (n * (size_t)bits + 31) / 32;
}

static inline size_t
sq_ct_old_words(size_t n, int bits)
{
	size_t in_word = 32 / (size_t)bits;

	return (n + in_word - 1) / in_word;
}

/* Zero points and codes of old files; the words of a code string are stride
 * apart. */
void	 sq_ct_get_old(uint8_t *codes, const uint32_t *words, size_t stride,
	    size_t n, int bits);

/* Codes as in old files; the words are zero. */
void	 sq_ct_put_old(uint32_t *words, const uint8_t *codes, size_t n,
	    int bits);

/* Codes of 4 or 8 bits as signed bytes, q = u - 2^(b-1): rows of codes as in
 * sq-stream(5).  get: -1 when a byte is out of range. */
void	 sq_ct_put_bytes(uint8_t *bytes, const uint8_t *codes, size_t rows,
	    size_t cols, int bits);
int	 sq_ct_get_bytes(uint8_t *codes, const uint8_t *bytes, size_t rows,
	    size_t cols, int bits);

#endif
