/*
 * The backward pass of a block against finite differences of a forward pass in
 * float64, written here: the tiny models, one with a window, one with biases,
 * one with norms over heads.  The loss is a random weighted sum of the output.
 */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/pool.h"
#include "base/rng.h"
#include "model/backward.h"
#include "model/rope.h"

#define LENGTH	24
#define SAMPLES	2
#define STEP	1e-5
#define PROBES	5		/* elements of a tensor that are held */

static const char *const models[] = { "llama", "mistral", "qwen2", "qwen3" };

enum { Q, K, V, O, GATE, UP, DOWN, BQ, BK, BV, NORM1, NORM2, NQ, NK, X,
	PARAMS };

static const char *const names[PARAMS] = { "q", "k", "v", "o", "gate", "up",
	"down", "q bias", "k bias", "v bias", "attn_norm", "ffn_norm",
	"q_norm", "k_norm", "x" };

struct ref {
	const struct sq_config *c;
	size_t rows, window, count[PARAMS];
	double *p[PARAMS];		/* NULL: the model has none */
	double *loss;			/* weights of the output, [rows][dim] */
	float *angles;
};

/* y = x w^T + bias */
static void
linear(const double *x, const double *w, const double *bias, size_t rows,
    size_t in, size_t out, double *y)
{
	size_t i, j, k;

	for (i = 0; i < rows; i++)
		for (j = 0; j < out; j++) {
			y[i * out + j] = bias == NULL ? 0 : bias[j];
			for (k = 0; k < in; k++)
				y[i * out + j] += x[i * in + k] *
				    w[j * in + k];
		}
}

static void
norm(const double *x, const double *w, size_t rows, size_t n, double eps,
    double *y)
{
	double s;
	size_t i, j;

	for (i = 0; i < rows; i++) {
		for (s = 0, j = 0; j < n; j++)
			s += x[i * n + j] * x[i * n + j];
		s = 1 / sqrt(s / (double)n + eps);
		for (j = 0; j < n; j++)
			y[i * n + j] = x[i * n + j] * s * w[j];
	}
}

static void
rope(const struct ref *r, double *x, size_t heads)
{
	size_t d = (size_t)r->c->head_dim, i, h, e;
	const float *a;
	double u, v, *p;

	for (i = 0; i < r->rows; i++)
		for (h = 0; h < heads; h++)
			for (e = 0; e < d / 2; e++) {
				a = r->angles + i % LENGTH * d;
				p = x + (i * heads + h) * d;
				u = p[e];
				v = p[d / 2 + e];
				p[e] = u * a[e] - v * a[d / 2 + e];
				p[d / 2 + e] = v * a[e] + u * a[d / 2 + e];
			}
}

static void
attend(const struct ref *r, const double *q, const double *k,
    const double *v, double *y)
{
	size_t d = (size_t)r->c->head_dim, nh = (size_t)r->c->heads;
	size_t nk = (size_t)r->c->kv_heads, i, j, h, g, e, from;
	double p[LENGTH], total;

	memset(y, 0, r->rows * nh * d * sizeof(*y));
	for (i = 0; i < r->rows; i++)
		for (h = 0; h < nh; h++) {
			g = h / (nh / nk);
			from = i - i % LENGTH;
			if (r->window != 0 && i - from >= r->window)
				from = i + 1 - r->window;
			for (total = 0, j = from; j <= i; j++) {
				p[j - from] = 0;
				for (e = 0; e < d; e++)
					p[j - from] += q[(i * nh + h) * d +
					    e] * k[(j * nk + g) * d + e];
				p[j - from] = exp(p[j - from] /
				    sqrt((double)d));
				total += p[j - from];
			}
			for (j = from; j <= i; j++)
				for (e = 0; e < d; e++)
					y[(i * nh + h) * d + e] +=
					    p[j - from] / total *
					    v[(j * nk + g) * d + e];
		}
}

static double
loss_of(const struct ref *r)
{
	const struct sq_config *c = r->c;
	size_t n = r->rows, dim = (size_t)c->dim, ffn = (size_t)c->ffn, i;
	size_t d = (size_t)c->head_dim, nq = (size_t)c->heads * d;
	size_t nkv = (size_t)c->kv_heads * d;
	double *h = malloc(n * dim * sizeof(*h)), *x = malloc(n * dim *
	    sizeof(*x)), *q = malloc(n * nq * sizeof(*q)), *att = malloc(n *
	    nq * sizeof(*att)), *k = malloc(n * nkv * sizeof(*k)), *v =
	    malloc(n * nkv * sizeof(*v)), *gate = malloc(n * ffn *
	    sizeof(*gate)), *up = malloc(n * ffn * sizeof(*up)), loss = 0;

	norm(r->p[X], r->p[NORM1], n, dim, c->eps, h);
	linear(h, r->p[Q], r->p[BQ], n, dim, nq, q);
	linear(h, r->p[K], r->p[BK], n, dim, nkv, k);
	linear(h, r->p[V], r->p[BV], n, dim, nkv, v);
	if (r->p[NQ] != NULL) {
		norm(q, r->p[NQ], n * nq / d, d, c->eps, q);
		norm(k, r->p[NK], n * nkv / d, d, c->eps, k);
	}
	rope(r, q, nq / d);
	rope(r, k, nkv / d);
	attend(r, q, k, v, att);
	linear(att, r->p[O], NULL, n, nq, dim, x);
	for (i = 0; i < n * dim; i++)
		x[i] += r->p[X][i];
	norm(x, r->p[NORM2], n, dim, c->eps, h);
	linear(h, r->p[GATE], NULL, n, dim, ffn, gate);
	linear(h, r->p[UP], NULL, n, dim, ffn, up);
	for (i = 0; i < n * ffn; i++)
		gate[i] = gate[i] / (1 + exp(-gate[i])) * up[i];
	linear(gate, r->p[DOWN], NULL, n, ffn, dim, h);
	for (i = 0; i < n * dim; i++)
		loss += r->loss[i] * (x[i] + h[i]);
	free(h), free(x), free(q), free(att), free(k), free(v), free(gate),
	    free(up);
	return loss;
}

static double *
doubles(const float *f, size_t n)
{
	double *d = malloc(n * sizeof(*d));
	size_t i;

	for (i = 0; i < n; i++)
		d[i] = (double)f[i];
	return d;
}

static void
take_vector(struct ref *r, int which, const float *v, size_t n)
{
	if (v == NULL)
		return;
	r->count[which] = n;
	r->p[which] = doubles(v, n);
}

static void
take_weight(struct ref *r, int which, struct sq_ctx *ctx,
    const struct sq_linear *l)
{
	size_t n = l->w.rows * l->w.cols;
	float *f = malloc(n * sizeof(*f));
	struct sq_mat m = { f, SQ_F32, l->w.rows, l->w.cols, l->w.cols };

	ck_assert(sq_dequantize(ctx, &l->w, 0, &m) == 0);
	take_vector(r, which, f, n);
	free(f);
	if (which <= V)
		take_vector(r, BQ + which, l->bias, l->w.rows);
}

static void
take(struct ref *r, struct sq_model *m, struct sq_ctx *ctx)
{
	const struct sq_layer *l = &m->layer[0];
	const struct sq_config *c = &m->config;
	size_t i;
	float *x = malloc(SAMPLES * LENGTH * c->dim * sizeof(*x));
	struct sq_rng rng;

	memset(r, 0, sizeof(*r));
	r->c = c;
	r->rows = SAMPLES * LENGTH;
	r->window = c->window_from == 0 ? (size_t)c->window : 0;
	take_weight(r, Q, ctx, &l->q);
	take_weight(r, K, ctx, &l->k);
	take_weight(r, V, ctx, &l->v);
	take_weight(r, O, ctx, &l->o);
	take_weight(r, GATE, ctx, &l->gate);
	take_weight(r, UP, ctx, &l->up);
	take_weight(r, DOWN, ctx, &l->down);
	take_vector(r, NORM1, l->attn_norm, (size_t)c->dim);
	take_vector(r, NORM2, l->ffn_norm, (size_t)c->dim);
	take_vector(r, NQ, l->q_norm, (size_t)c->head_dim);
	take_vector(r, NK, l->k_norm, (size_t)c->head_dim);
	rng.state = 7;
	for (i = 0; i < r->rows * c->dim; i++)
		x[i] = (float)(sq_rng_uniform(&rng) * 4 - 2);
	take_vector(r, X, x, r->rows * (size_t)c->dim);
	for (i = 0; i < r->rows * c->dim; i++)
		x[i] = (float)(sq_rng_uniform(&rng) * 2 - 1);
	r->loss = doubles(x, r->rows * (size_t)c->dim);
	free(x);
	r->angles = malloc(LENGTH * c->head_dim * sizeof(float));
	ck_assert(sq_rope_table(c, 0, LENGTH, r->angles) == 0);
}

static void
drop(struct ref *r)
{
	int i;

	for (i = 0; i < PARAMS; i++)
		free(r->p[i]);
	free(r->loss);
	free(r->angles);
}

/* The gradients of the pass that is tested, [PARAMS]. */
static void
gradients(const struct ref *r, struct sq_model *m, struct sq_ctx *ctx,
    float **g)
{
	struct sq_layer_grad lg = { g[NORM1], g[NORM2], g[NQ], g[NK],
	    { g[Q], g[BQ] }, { g[K], g[BK] }, { g[V], g[BV] }, { g[O], NULL },
	    { g[GATE], NULL }, { g[UP], NULL }, { g[DOWN], NULL } };
	struct sq_mat d = { g[X], SQ_F32, r->rows, (size_t)r->c->dim,
	    (size_t)r->c->dim };
	struct sq_backward b;
	char err[SQ_ERR];
	size_t i;

	ck_assert_msg(sq_backward_init(&b, m, ctx, SQ_PREC_F32, SAMPLES,
	    LENGTH, err) == 0, "%s", err);
	b.f.x.rows = r->rows;
	for (i = 0; i < r->count[X]; i++) {
		((float *)b.f.x.p)[i] = (float)r->p[X][i];
		g[X][i] = (float)r->loss[i];
	}
	ck_assert_msg(sq_backward_forward(&b, 0, err) == 0, "%s", err);
	ck_assert_msg(sq_backward_block(&b, 0, &d, &lg, 1, err) == 0, "%s",
	    err);
	sq_backward_release(&b);
}

/* Some elements, the first and the last among them. */
static void
probe(struct ref *r, int which, const float *g, const char *model,
    const char *level)
{
	double scale = 0, keep, up, down, want, h;
	size_t i, at, n = r->count[which];
	struct sq_rng rng;

	for (i = 0; i < n; i++)
		scale = fabs((double)g[i]) > scale ? fabs((double)g[i]) :
		    scale;
	ck_assert_msg(scale > 0, "%s: no gradient of %s", model,
	    names[which]);
	rng.state = (uint64_t)which;
	for (i = 0; i < PROBES; i++) {
		at = i == 0 ? 0 : i == 1 ? n - 1 :
		    (size_t)(sq_rng_uniform(&rng) * (double)n);
		keep = r->p[which][at];
		h = STEP * (1 + fabs(keep));
		r->p[which][at] = keep + h;
		up = loss_of(r);
		r->p[which][at] = keep - h;
		down = loss_of(r);
		r->p[which][at] = keep;
		want = (up - down) / (2 * h);
		ck_assert_msg(fabs(want - (double)g[at]) < 2e-5 * scale,
		    "%s, %s: gradient %zu of %s is %g, differences give %g, "
		    "the greatest is %g", model, level, at, names[which],
		    (double)g[at], want, scale);
	}
}

static void
check_level(const char *name, const char *level)
{
	struct sq_pool *pool = sq_pool_new(2);
	char path[256], err[SQ_ERR];
	float *g[PARAMS] = { NULL };
	struct sq_model *m;
	struct sq_ctx ctx;
	struct ref r;
	int i;

	snprintf(path, sizeof(path), "tests/data/tiny/%s", name);
	ck_assert_msg((m = sq_model_open(path, err)) != NULL, "%s", err);
	ck_assert(sq_ctx_init(&ctx, sq_kern_find(level, err), pool) == 0);
	take(&r, m, &ctx);
	for (i = 0; i < PARAMS; i++)
		if (r.p[i] != NULL)
			g[i] = calloc(r.count[i], sizeof(float));
	gradients(&r, m, &ctx, g);
	for (i = 0; i < PARAMS; i++)
		if (r.p[i] != NULL)
			probe(&r, i, g[i], name, level);
	for (i = 0; i < PARAMS; i++)
		free(g[i]);
	drop(&r);
	sq_ctx_release(&ctx);
	sq_pool_free(pool);
	sq_model_free(m);
}

START_TEST(differences)
{
	const char *const *level;
	char err[SQ_ERR];

	for (level = sq_kern_levels(); *level != NULL; level++)
		if (sq_kern_find(*level, err) != NULL)
			check_level(models[_i], *level);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("backward");
	TCase *tc = tcase_create("gradients");
	SRunner *sr;
	int failed;

	tcase_add_loop_test(tc, differences, 0,
	    (int)(sizeof(models) / sizeof(models[0])));
	tcase_set_timeout(tc, 60);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
