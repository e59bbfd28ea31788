/*
 * What an engine, or a kind of hardware, can multiply and cache: a table in a
 * file (pipelines/engines/NAME.yaml, compiled in), against which profiles and
 * models are held before the work is done.
 */
#ifndef SQ_SCHEMA_ENGINE_H
#define SQ_SCHEMA_ENGINE_H

#include "schema/profile.h"

#define SQ_ENGINE_GROUPS	16
#define SQ_ENGINE_ROWS		32

/* How the input of a matrix multiplication is rounded. */
enum sq_input_kind { SQ_INPUT_NONE, SQ_INPUT_INT8_TOKEN, SQ_INPUT_INT8_TENSOR,
	SQ_INPUT_INT8_STATIC, SQ_INPUT_FP8_TOKEN, SQ_INPUT_FP8_TENSOR,
	SQ_INPUT_FP8_STATIC, SQ_INPUT_INT4_TOKEN, SQ_INPUT_KINDS };

extern const char *const sq_input_names[];

/* One kind of weights that it takes. */
struct sq_engine_row {
	int format;
	unsigned bits;			/* bit b: b bits; int only */
	uint64_t group[SQ_ENGINE_GROUPS];	/* 0: a row */
	int ngroups, per_tensor;
	uint64_t group_multiple;	/* 0: none but those */
	int symmetric;			/* must be */
	unsigned activations;		/* bit k: enum sq_input_kind */
	uint64_t columns, rows;		/* of a rank: multiples of these */
};

struct sq_engine {
	char name[32];
	int tensor_parallel;		/* splits matrices */
	int together;			/* q, k, v are one matrix; gate, up */
	int head;			/* takes a quantized head, embedding */
	int activation_zeros;		/* zero points of activations */
	int kv_exact;			/* keeps some tokens in 16 bits, and
					   rotates queries and keys */
	int f16_scales;			/* computes with scales in F16 */
	unsigned sparsity, kv;		/* bits by enum */
	struct sq_engine_row row[SQ_ENGINE_ROWS];
	int nrows;
};

/* name: with a slash a file.  0, or -1 with the reason. */
int	 sq_engine_load(struct sq_engine *, const char *name, char *err);

/* The engines that are compiled in: i from 0; NULL when there is none. */
const char *sq_engine_name(size_t i);

enum sq_input_kind sq_profile_input(const struct sq_profile *);

/*
 * The row that takes weights of that rule with such an input: NULL with the
 * reason.
 */
const struct sq_engine_row *sq_engine_takes(const struct sq_engine *,
	    const struct sq_profile_rule *, enum sq_input_kind, char *why);

#endif
