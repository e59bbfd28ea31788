/*
 * Products of one x with several weights.  Those of few tokens share what is
 * made of x, and no thread waits between one and the next.
 */
#include "kernels/quant.h"
#include "kernels/ref/ref.h"
#include "kernels/x86/few.h"
#include "kernels/x86/matmul.h"
#include "kernels/x86/x86.h"

int
sq_few_alike(const struct sq_weight *const *w, size_t n)
{
	size_t i;

	for (i = 1; i < n; i++)
		if (w[i]->grid != w[0]->grid || w[i]->cols != w[0]->cols ||
		    w[i]->group_cols != w[0]->group_cols ||
		    (w[i]->zeros == NULL) != (w[0]->zeros == NULL))
			return 0;
	return n > 0 && n <= SQ_FEW_WEIGHTS;
}

/* Whether all of it is for `few', where that takes so many tokens. */
static int
is_few(const struct sq_ctx *c, const struct sq_few *f, size_t most)
{
	const struct sq_mm_level level = { .few = most };
	size_t i;

	if (!sq_mm_is_few(&level, c, f->y->rows) || !sq_few_alike(f->w, f->n))
		return 0;
	for (i = 0; i < f->n; i++)
		if (!sq_few_allows(f->w[i]) || !(f->q != NULL ?
		    sq_matmul_int8_allows(f->w[i], f->q, &f->y[i]) :
		    sq_mm_allows(f->w[i], f->x, &f->y[i])))
			return 0;
	return 1;
}

static int
none(struct sq_ctx *c, const struct sq_few *f)
{
	(void)c;
	(void)f;
	return SQ_UNSUP;
}

/* A level that has `few' for up to `most' tokens. */
#define EACH(level, few, most)						\
int									\
sq_matmul_each_##level(struct sq_ctx *c,				\
    const struct sq_weight *const *w, size_t n, const struct sq_mat *x,	\
    enum sq_prec prec, const struct sq_mat *y)				\
{									\
	const struct sq_few f = { w, n, x, NULL, y };			\
									\
	if (prec == SQ_PREC_BF16 && is_few(c, &f, most) && few(c, &f) == 0) \
		return 0;						\
	return sq_matmul_each_ref(c, w, n, x, prec, y);			\
}									\
									\
int									\
sq_matmul_int8_each_##level(struct sq_ctx *c,				\
    const struct sq_weight *const *w, size_t n,				\
    const struct sq_qmat *x, const struct sq_mat *y)			\
{									\
	const struct sq_few f = { w, n, NULL, x, y };			\
									\
	if (is_few(c, &f, most) && few(c, &f) == 0)			\
		return 0;						\
	return sq_matmul_int8_each_ref(c, w, n, x, y);			\
}

EACH(avx2, sq_few_avx2, sq_mm_int_avx2.few)
EACH(avx512, none, 0)
EACH(avx512vnni, sq_few_vnni, SQ_FEW_TOKENS)
EACH(amx, sq_few_amx, SQ_FEW_TOKENS)
