/* Integers that are learned; see codes.h. */
#include <stdlib.h>
#include <string.h>

#include "distill/codes.h"

#define SMALLEST	32		/* group, for sq_codes_bytes() */
#define SLACK		0.48f		/* as in tune_weight.h */

uint64_t
sq_codes_bytes(uint64_t weights, size_t threads)
{
	uint64_t places = weights * 3 * sizeof(float);
	uint64_t most = SQ_TUNE_CALM + threads * SQ_TUNE_SPACE *
	    sizeof(float);

	return sq_tune_weight_rest(1, (size_t)weights, SMALLEST) +
	    (places < most ? places : most);
}

void
sq_codes_init(struct sq_codes *c)
{
	*c = (struct sq_codes){ .file.left = SQ_TUNE_CALM };
}

/* The parts of the payload, which is the caller's own. */
static struct sq_qdst
places(const struct sq_weight *w)
{
	return (struct sq_qdst){
	    .codes = (uint8_t *)(uintptr_t)w->data,
	    .scales = (uint16_t *)(uintptr_t)w->scales,
	    .zeros = (uint8_t *)(uintptr_t)w->zeros };
}

static int
learnable(const struct sq_weight *w)
{
	return w->data != NULL && sq_grid_is_int(w->grid) &&
	    w->layout == SQ_ROWS && w->group_rows == 1 &&
	    w->scale_type == SQ_F16;
}

/* Whether q can have been made of w: its error is less than half of it. */
static int
alike(const float *w, const float *q, size_t n)
{
	double error = 0, norm = 0, d;
	size_t i;

	for (i = 0; i < n; i++) {
		d = (double)w[i] - (double)q[i];
		error += d * d;
		norm += (double)w[i] * (double)w[i];
	}
	return error < 0.25 * norm;
}

static int
begin(struct sq_tune_weight *t, struct sq_tune_file *file, struct sq_ctx *ctx,
    const struct sq_weight *w, const struct sq_weight *like, char *err)
{
	struct sq_qrule rule = { .grid = w->grid, .symmetric = w->zeros ==
	    NULL, .group_rows = 1, .group_cols = w->group_cols };
	struct sq_mat own, dense = { NULL, SQ_F32, w->rows, w->cols, w->cols };
	struct sq_qdst q = places(w);
	size_t n = w->rows * w->cols;
	int r = 0;

	if ((dense.p = malloc(2 * n * sizeof(float))) == NULL)
		return sq_fail(err, "out of memory");
	own = dense;
	own.p = (float *)dense.p + n;
	if (like == NULL || like->rows != w->rows || like->cols != w->cols)
		like = w;
	if (sq_dequantize(ctx, like, 0, &dense) != 0 ||
	    sq_dequantize(ctx, w, 0, &own) != 0)
		r = sq_no_kernel(err, SQ_OP_dequantize);
	else
		r = sq_tune_weight_init(t, ctx->pool, file, alike(dense.p,
		    own.p, n) ? &dense : &own, &rule, &q, SLACK, err);
	free(dense.p);
	if (r == 0)
		sq_tune_weight_apply(t);
	return r;
}

int
sq_codes_take(struct sq_codes *c, struct sq_ctx *ctx, struct sq_linear *l,
    const struct sq_weight *like, struct sq_linear_grad *g, char *err)
{
	struct sq_codes_entry *e;

	if (!learnable(&l->w))
		return 0;
	e = realloc(c->entry, (c->n + 1) * sizeof(*e));
	if (e == NULL)
		return sq_fail(err, "out of memory");
	c->entry = e;
	e += c->n;
	*e = (struct sq_codes_entry){ .from = l->w };
	if (begin(&e->weight, &c->file, ctx, &l->w, like, err) < 0)
		return -1;
	c->n++;
	l->w = sq_tune_weight_now(&e->weight);
	g->w = e->weight.g;
	return sq_tune_file_check(&c->file, err);
}

int
sq_codes_apply(struct sq_codes *c, char *err)
{
	size_t i;

	for (i = 0; i < c->n; i++)
		sq_tune_weight_apply(&c->entry[i].weight);
	return sq_tune_file_check(&c->file, err);
}

int
sq_codes_step(struct sq_codes *c, const struct sq_tune_rate *rate, char *err)
{
	size_t i;

	for (i = 0; i < c->n; i++)
		sq_tune_weight_step(&c->entry[i].weight, rate);
	return sq_tune_file_check(&c->file, err);
}

int
sq_codes_put(struct sq_codes *c, char *err)
{
	struct sq_qdst q;
	size_t i;

	for (i = 0; i < c->n; i++) {
		q = places(&c->entry[i].from);
		sq_tune_weight_noted(&c->entry[i].weight, &q);
	}
	return sq_tune_file_check(&c->file, err);
}

void
sq_codes_release(struct sq_codes *c)
{
	size_t i;

	for (i = 0; i < c->n; i++)
		sq_tune_weight_release(&c->entry[i].weight);
	sq_tune_file_release(&c->file);
	free(c->entry);
	memset(c, 0, sizeof(*c));
}
