/* The loss of a sample, and its gradient; see distill_work.h. */
#include <string.h>

#include "base/pool.h"
#include "distill/distill_work.h"

#define PIECE	((size_t)1 << 16)	/* values of a task */

static struct sq_mat
mat(float *p, size_t rows, size_t cols)
{
	return (struct sq_mat){ p, SQ_F32, rows, cols, cols };
}

/* Both models' logits of rows row .. row+n-1. */
static int
logits(struct sq_distill *d, size_t row, size_t n, char *err)
{
	struct sq_distill_work *k = d->work;
	struct sq_mat t = mat(k->tl, n, k->vocab), s = mat(k->sl, n, k->vocab);

	return sq_head_logits(&k->th, &k->t.f, row, n, &t, err) < 0 ? -1 :
	    sq_head_logits(&k->sh, &k->s.f, row, n, &s, err);
}

/* Their divergence, and the text's loss, are added up. */
static int
compare(struct sq_distill *d, const uint32_t *next, size_t n, char *err)
{
	struct sq_distill_work *k = d->work;
	struct sq_mat t = mat(k->tl, n, k->vocab), s = mat(k->sl, n, k->vocab);
	size_t i;

	if (sq_nll(d->ctx, &s, next, k->nll, NULL) != 0)
		return sq_no_kernel(err, SQ_OP_nll);
	if (sq_kl(d->ctx, &t, &s, k->kl) != 0)
		return sq_no_kernel(err, SQ_OP_kl);
	for (i = 0; i < n; i++) {
		k->kl_sum += (double)k->kl[i];
		k->nll_sum += (double)k->nll[i];
	}
	return 0;
}

struct scale_job {
	float *x, f;
	size_t n;
};

static void
scale_piece(void *arg, long task, int thread)
{
	const struct scale_job *j = arg;
	size_t i = (size_t)task * PIECE;
	size_t end = j->n - i < PIECE ? j->n : i + PIECE;

	(void)thread;
	for (; i < end; i++)
		j->x[i] *= j->f;
}

/* All of x times f. */
static void
scale(struct sq_distill *d, float *x, size_t n, float f)
{
	struct scale_job j = { x, f, n };

	if (f != 1)
		sq_pool_run(d->ctx->pool, scale_piece, &j,
		    (long)((n + PIECE - 1) / PIECE));
}

/* The gradient of the loss by the student's logits, in the place of the
 * teacher's. */
static int
logits_grad(struct sq_distill *d, const uint32_t *next, size_t n,
    double weight, char *err)
{
	const struct sq_distill_config *c = d->config;
	struct sq_distill_work *k = d->work;
	struct sq_mat t = mat(k->tl, n, k->vocab), s = mat(k->sl, n, k->vocab);
	float warm = (float)c->temperature, cold = (float)(1 /
	    c->temperature);
	float ce = (float)(weight * c->ce);
	size_t i;

	scale(d, k->tl, n * k->vocab, cold);
	scale(d, k->sl, n * k->vocab, cold);
	if (sq_kl_backward(d->ctx, &t, &s, (float)(weight * c->temperature),
	    &t) != 0)
		return sq_no_kernel(err, SQ_OP_kl_backward);
	if (ce == 0)
		return 0;
	scale(d, k->sl, n * k->vocab, warm);
	if (sq_nll(d->ctx, &s, NULL, k->lse, NULL) != 0)
		return sq_no_kernel(err, SQ_OP_nll);
	if (sq_softmax_add(d->ctx, &s, k->lse, ce, &t) != 0)
		return sq_no_kernel(err, SQ_OP_softmax_add);
	for (i = 0; i < n; i++)
		k->tl[i * k->vocab + next[i]] -= ce;
	return 0;
}

/* Through head and last norm: the gradient of rows row .. in dx. */
static int
head_back(struct sq_distill *d, size_t row, size_t n, char *err)
{
	struct sq_distill_work *k = d->work;
	struct sq_mat g = mat(k->tl, n, k->vocab);
	struct sq_mat h = mat(k->dh + row * k->dim, n, k->dim);
	struct sq_mat x = mat((float *)k->s.f.x.p + row * k->dim, n, k->dim);
	struct sq_mat dx = mat(k->dx + row * k->dim, n, k->dim);

	return sq_head_back(&k->sh, &g, &x, &h, &dx, d->norm_grad, err);
}

/* What comes after the last token of a sample is not known: it is left out. */
int
sq_distill_loss(struct sq_distill *d, size_t at, int learn, double weight,
    char *err)
{
	struct sq_distill_work *k = d->work;
	size_t row, n, last = at + k->length - 1;

	memset(k->dx + last * k->dim, 0, k->dim * sizeof(float));
	for (row = at; row < last; row += n) {
		n = last - row < k->slice ? last - row : k->slice;
		if (logits(d, row, n, err) < 0)
			return -1;
		if (!learn && compare(d, k->ids + row + 1, n, err) < 0)
			return -1;
		if (learn && (logits_grad(d, k->ids + row + 1, n, weight,
		    err) < 0 || head_back(d, row, n, err) < 0))
			return -1;
	}
	return 0;
}
