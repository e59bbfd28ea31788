/*
 * The references of product and panels: factors rounded to the type of the
 * precision, sums in float64 in the order of k, rounded once.
 */
#include <string.h>

#include "base/pool.h"
#include "kernels/panels.h"
#include "kernels/ref/ref.h"
#include "kernels/ref/value.h"

struct job {
	const struct sq_operand *a, *b;
	const struct sq_mat *y;
	enum sq_prec prec;
	int add;
};

static float
rounded(float v, enum sq_dtype type)
{
	return type == SQ_BF16 ? sq_bf16_to_f32(sq_f32_to_bf16(v)) : v;
}

/* Row i, column j of what is meant. */
static float
value(const struct sq_operand *f, size_t i, size_t j)
{
	const struct sq_mat *m = &f->m;
	size_t unit;

	if (f->lay == SQ_TURNED)
		return sq_value(m->p, m->type, j * m->stride + i);
	if (f->lay == SQ_AS_IS)
		return sq_value(m->p, m->type, i * m->stride + j);
	unit = sq_panel_unit(m->type);
	return sq_value(m->p, m->type, ((j / SQ_PANEL * sq_panel_words(m->rows,
	    m->type) + i / unit) * SQ_PANEL + j % SQ_PANEL) * unit + i % unit);
}

static void
product_row(void *arg, long task, int thread)
{
	const struct job *j = arg;
	enum sq_dtype type = sq_panel_type(j->prec);
	size_t row = (size_t)task, col, i, k = sq_operand_cols(j->a);
	float *y = (float *)j->y->p + row * j->y->stride;
	double sum;

	(void)thread;
	for (col = 0; col < j->y->cols; col++) {
		sum = j->add ? y[col] : 0;
		for (i = 0; i < k; i++)
			sum += (double)rounded(value(j->a, row, i), type) *
			    rounded(value(j->b, i, col), type);
		y[col] = (float)sum;
	}
}

int
sq_product_ref(struct sq_ctx *c, const struct sq_operand *a,
    const struct sq_operand *b, enum sq_prec prec, int add,
    const struct sq_mat *y)
{
	struct job j = { a, b, y, prec, add };

	if (!sq_product_allows(a, b, prec, y))
		return SQ_UNSUP;
	sq_pool_run(c->pool, product_row, &j, (long)y->rows);
	return 0;
}

static void
panel(void *arg, long task, int thread)
{
	const struct job *j = arg;
	const struct sq_mat *to = j->y;
	size_t unit = sq_panel_unit(to->type), i, c;
	size_t words = sq_panel_words(to->rows, to->type);
	size_t col = (size_t)task * SQ_PANEL, at = col * words * unit;

	(void)thread;
	for (i = 0; i < words * unit; i++)
		for (c = 0; c < SQ_PANEL; c++)
			sq_value_put(to->p, to->type, at + (i / unit *
			    SQ_PANEL + c) * unit + i % unit,
			    i < to->rows && col + c < to->cols ?
			    value(j->b, i, col + c) : 0);
}

int
sq_panels_ref(struct sq_ctx *c, const struct sq_operand *b,
    const struct sq_mat *to)
{
	struct job j = { .b = b, .y = to };

	if (!sq_panels_allows(b, to))
		return SQ_UNSUP;
	sq_pool_run(c->pool, panel, &j, (long)((to->cols + SQ_PANEL - 1) /
	    SQ_PANEL));
	return 0;
}
