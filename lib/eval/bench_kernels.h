/*
 * How fast the kernels are, beside what this machine can do: every operation
 * on shapes of a 1B model, on each level, with the limits measured in the same
 * run.
 */
#ifndef SQ_EVAL_BENCH_KERNELS_H
#define SQ_EVAL_BENCH_KERNELS_H

#include "kernels/kern.h"

struct sq_bench_row {
	const char *op, *level, *shape;
	double seconds;			/* median of one call */
	double rate;			/* FLOP/s, or bytes/s */
	int is_flops;
	double fraction;		/* of the limit; NAN: none applies */
	double loaded;			/* of what operands that are loaded
					   allow, in turn; NAN: none */
	double speedup;			/* sparse: over the whole; NAN: it is
					   the whole */
};

typedef void sq_bench_fn(void *arg, const struct sq_bench_row *);

/* The limits of one level (NAN: it has none): operations a second with float32,
 * bf16, integers of 16 and of 8 bits, and bytes a second of reading. */
struct sq_bench_limits {
	double f32, bf16, int16, int8, read;
};
typedef void sq_bench_limit_fn(void *arg, const char *level,
	    const struct sq_bench_limits *);

struct sq_bench_kernels {
	struct sq_pool *pool;
	const char *level;		/* NULL: all that this machine runs */
	const char *op;			/* NULL: all */
	double seconds;			/* at least, for each row */
	sq_bench_fn *row;
	sq_bench_limit_fn *limit;
	void *arg;
};

int	 sq_bench_kernels(const struct sq_bench_kernels *, char *err);

#endif
