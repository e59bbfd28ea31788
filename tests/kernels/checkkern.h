/*
 * The check frame of the kernels.  For each level that this machine runs and
 * each operation of ops.def, checkkern calls
 *
 *	check_<op>(k, ref, new)
 *
 * from check_<op>.c: ref is the table of the reference, new the table of the
 * level.  For the level "ref" both are the same table: what is checked then is
 * that threads do not change a bit, that nothing is touched outside the
 * buffers, and whatever property the check knows.
 *
 * A check has the form
 *
 *	for each shape, type ... {
 *		x = ck_buf(k, bytes);  a = ck_buf(...);  b = ck_buf(...);
 *		ck_fill(k, x, SQ_F32, n, kind);
 *		r = ref->op(ck_ref(k, ref), ...a...);
 *		for (t = 0; t < CK_CTXS; t++) {
 *			s = new->op(ck_ctx(k, new, t), ...b...);
 *			if (ck_ret(k, r, s, "case ..."))
 *				ck_same(k, a, b, bytes, "case ...");
 *		}
 *		ck_done(k);
 *	}
 *
 * Where results may differ from ref by a bound, ck_close compares with ref at
 * t = 0 and ck_same compares t > 0 with t = 0.
 */
#ifndef SQ_CHECKKERN_H
#define SQ_CHECKKERN_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/kern.h"

#define CK_CTXS	3		/* contexts of 1, 2 and 3 threads */
#define CK_FILL	0xa5		/* every byte of a fresh buffer */

struct ck_block;

struct checker {
	uint64_t seed;			/* of the run */
	uint64_t rng;			/* state: seed and operation */
	const char *level;
	enum sq_op op;
	double bound;			/* of the operation, from ops.def */
	struct sq_ctx ctx[CK_CTXS], ref;
	struct ck_block *blocks;
	long compared, unsup, failed;	/* in this check */
	double worst;			/* greatest error of ck_close */
};

/*
 * n bytes filled with CK_FILL, which end where their page ends: touching
 * anything behind them stops the program with a message, and bytes before
 * them are watched for changes.  They are aligned as n is: for n a multiple
 * of 64, to 64 bytes.  They live until ck_done.
 */
void	*ck_buf(struct checker *, size_t n);

/* Makes buffer p (of n bytes) as ck_buf gave it. */
void	 ck_clear(void *p, size_t n);

/* The end of a case: looks at the guards and releases the buffers. */
void	 ck_done(struct checker *);

/* A context for kern with t + 1 threads, and one with 1 thread for ref. */
struct sq_ctx	*ck_ctx(struct checker *, const struct sq_kern *kern, int t);
struct sq_ctx	*ck_ref(struct checker *, const struct sq_kern *ref);

/* Random numbers: the same for a seed and an operation, on every level. */
uint64_t ck_rand(struct checker *);
size_t	 ck_range(struct checker *, size_t lo, size_t hi);	/* lo .. hi */
double	 ck_uniform(struct checker *);				/* [0, 1) */
double	 ck_normal(struct checker *);

enum ck_kind {
	CK_NORMAL,	/* standard normal */
	CK_TIES,	/* multiples of 1/4 in -8 .. 8: many ties, +0 and -0 */
	CK_ZERO,	/* +0 and -0 */
	CK_TINY,	/* denormals of the type, and its least normals */
	CK_LARGE,	/* up to 1/16 of the type's greatest, at most 1e6 */
	CK_OUTLIER,	/* normal, one in 64 a hundred times greater */
	CK_KINDS
};

/* n values of type F32, F16 or BF16. */
void	 ck_fill(struct checker *, void *p, enum sq_dtype type, size_t n,
	    enum ck_kind kind);
void	 ck_bytes(struct checker *, void *p, size_t n);	/* random bytes */
const char	*ck_kind_name(enum ck_kind);

/* Value i of an array of F32, F16 or BF16, and storing one (rounded). */
double	 ck_get(const void *p, enum sq_dtype type, size_t i);
void	 ck_put(void *p, enum sq_dtype type, size_t i, double v);

/*
 * Compares what a kernel returned with what ref did.  1 when both are 0, so
 * that outputs can be compared.  SQ_UNSUP is counted and is not an error,
 * except on the level ref; use ck_untouched on the outputs then.
 */
int	 ck_ret(struct checker *, int ref, int new, const char *fmt, ...)
	    __attribute__((format(printf, 4, 5)));

/* The same bits: n bytes. */
int	 ck_same(struct checker *, const void *want, const void *got, size_t n,
	    const char *fmt, ...) __attribute__((format(printf, 5, 6)));

/* Each |got - want| <= bound * mag; mag NULL: |want|.  NaN equals NaN. */
int	 ck_close(struct checker *, const float *want, const float *got,
	    const double *mag, size_t n, const char *fmt, ...)
	    __attribute__((format(printf, 6, 7)));

/* All n bytes are still CK_FILL: an output before an operation, or after it
 * said SQ_UNSUP. */
int	 ck_untouched(struct checker *, const void *p, size_t n,
	    const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* Anything else that must hold. */
int	 ck_true(struct checker *, int holds, const char *fmt, ...)
	    __attribute__((format(printf, 3, 4)));

#define OP(name, params, args, bound)					\
	void check_##name(struct checker *, const struct sq_kern *ref,	\
	    const struct sq_kern *new);
#include "kernels/ops.def"
#undef OP

#endif
