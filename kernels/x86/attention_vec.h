/*
 * Attention over the vectors of vec.h.  The file of a level defines LEVEL(op),
 * DP where it multiplies bf16 by vdpbf16ps, AMX too where the loops of many
 * rows use tiles, and includes this.
 */
#include <float.h>
#include <math.h>
#include <string.h>

#include "base/half.h"
#include "kernels/rows.h"
#include "kernels/x86/attention.h"
#include "kernels/x86/vec.h"
#include "kernels/x86/x86.h"

#include "kernels/x86/page_vec.h"
#include "kernels/x86/attention_load.h"
#include "kernels/x86/attention_few.h"
#include "kernels/x86/attention_many.h"

/* The usual dimensions are constants, so that the loops over them are. */
#define BY_DIM(fn, x, type, dim)					\
	switch (dim) {							\
	case 64: fn(x, type, 64); break;				\
	case 128: fn(x, type, 128); break;				\
	default: fn(x, type, dim); break;				\
	}

#ifdef DP
#define BY_TYPE(fn, x, type, dim)					\
	BY_DIM(fn, x, SQ_BF16, dim)
#else
#define BY_TYPE(fn, x, type, dim)					\
	switch (type) {							\
	case SQ_BF16: BY_DIM(fn, x, SQ_BF16, dim) break;		\
	case SQ_F16: BY_DIM(fn, x, SQ_F16, dim) break;			\
	default: BY_DIM(fn, x, SQ_F32, dim) break;			\
	}
#endif

#ifndef DP
static enum sq_dtype
type_of(const struct sq_kv *kv)
{
	return sq_kv_plain(kv) ? kv->type : CODED_TYPE;
}
#endif

static void
few(const struct sq_attn_call *c, const struct sq_attn_part *p, void *scratch)
{
	struct few *f = scratch;

	f->call = c;
	f->part = p;
	f->width = (c->kv->dim + 2 * VL - 1) / (2 * VL) * (2 * VL);
	BY_TYPE(few_rows, f, type_of(c->kv), c->kv->dim)
}

static void
many(const struct sq_attn_call *c, const struct sq_attn_part *p, void *scratch)
{
	struct many *m = scratch;

	m->call = c;
	m->part = p;
	BY_TYPE(many_rows, m, type_of(c->kv), c->kv->dim)
}

#ifdef DP
#ifdef AMX
#define LOWER(op)	sq_##op##_avx512bf16
#else
#define LOWER(op)	sq_##op##_avx512
#endif

/* What this level multiplies; the rest is not worse on the one below. */
SQ_INLINE int
mine(const struct sq_attn *a, const struct sq_kv *kv)
{
#ifdef AMX
	if (kv->dim % 32 != 0)
		return 0;
#endif
	return a->prec == SQ_PREC_BF16 &&
	    (kv->type == SQ_BF16 || !sq_kv_plain(kv));
}
#endif

/* keep: NULL, or what is seen. */
static int
run(struct sq_ctx *c, const struct sq_attn *a, const struct sq_attn_keep *keep,
    const struct sq_kv *kv, const struct sq_seq *seq, size_t nseq,
    const struct sq_mat *q, const struct sq_mat *y)
{
	static const struct sq_attn_loops loops = { FEW, few, many };

	return sq_attn_run(c, a, keep, kv, seq, nseq, q, y, &loops);
}

int
LEVEL(attention)(struct sq_ctx *c, const struct sq_attn *a,
    const struct sq_kv *kv, const struct sq_seq *seq, size_t nseq,
    const struct sq_mat *q, const struct sq_mat *y)
{
#ifdef DP
	if (!mine(a, kv))
		return LOWER(attention)(c, a, kv, seq, nseq, q, y);
#endif
	return run(c, a, NULL, kv, seq, nseq, q, y);
}

int
LEVEL(sparse_attention)(struct sq_ctx *c, const struct sq_attn *a,
    const struct sq_attn_keep *keep, const struct sq_kv *kv,
    const struct sq_seq *seq, size_t nseq, const struct sq_mat *q,
    const struct sq_mat *y)
{
#ifdef DP
	if (!mine(a, kv))
		return LOWER(sparse_attention)(c, a, keep, kv, seq, nseq, q,
		    y);
#endif
	return run(c, a, keep, kv, seq, nseq, q, y);
}
