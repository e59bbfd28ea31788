/*
 * The backward pass of a block against finite differences of a forward pass in
 * float64, block_ref.h: the tiny models, one with a window, one with biases,
 * one with norms over heads.  The loss is a random weighted sum of the output.
 */
#include <stdio.h>

#include "base/pool.h"
#include "base/rng.h"
#include "model/backward.h"
#include "tests/unit/block_ref.h"

#define SAMPLES	2
#define STEP	1e-5
#define PROBES	5		/* elements of a tensor that are held */

static const char *const models[] = { "llama", "mistral", "qwen2", "qwen3" };

static const char *const names[PARAMS] = { "q", "k", "v", "o", "gate", "up",
	"down", "q bias", "k bias", "v bias", "attn_norm", "ffn_norm",
	"q_norm", "k_norm", "x" };

/* Of the output, in the loss. */
static double *weights;

static double
loss_of(const struct ref *r)
{
	size_t n = r->rows * (size_t)r->c->dim, i;
	double *y = malloc(n * sizeof(*y)), loss = 0;

	block_of(r, y);
	for (i = 0; i < n; i++)
		loss += weights[i] * y[i];
	free(y);
	return loss;
}

static void
take(struct ref *r, struct sq_model *m, struct sq_ctx *ctx)
{
	size_t n, i;
	float *x;
	struct sq_rng rng;

	take_block(r, m, ctx, 0, SAMPLES);
	n = r->rows * (size_t)m->config.dim;
	x = malloc(n * sizeof(*x));
	rng.state = 7;
	for (i = 0; i < n; i++)
		x[i] = (float)(sq_rng_uniform(&rng) * 4 - 2);
	take_vector(r, X, x, n);
	for (i = 0; i < n; i++)
		x[i] = (float)(sq_rng_uniform(&rng) * 2 - 1);
	weights = doubles(x, n);
	free(x);
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
		g[X][i] = (float)weights[i];
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
	drop_block(&r);
	free(weights);
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

/* The gradient of the first block's input, back through all, where blocks are
 * held within that many bytes; d: its memory. */
static void
through_all(struct sq_model *m, struct sq_ctx *ctx, uint64_t most, float *d)
{
	size_t dim = (size_t)m->config.dim, n = SAMPLES * LENGTH * dim, i;
	size_t layers = (size_t)m->config.layers, l;
	struct sq_mat dx = { d, SQ_F32, SAMPLES * LENGTH, dim, dim };
	struct sq_layer_grad none = { 0 };
	uint32_t ids[SAMPLES * LENGTH];
	struct sq_rng rng = { 3 };
	struct sq_backward b;
	char err[SQ_ERR];

	for (i = 0; i < SAMPLES * LENGTH; i++)
		ids[i] = (uint32_t)(sq_rng_next(&rng) % m->config.vocab);
	ck_assert_msg(sq_backward_init(&b, m, ctx, SQ_PREC_BF16, SAMPLES,
	    LENGTH, err) == 0, "%s", err);
	ck_assert_msg(sq_backward_hold(&b, most, err) == 0, "%s", err);
	ck_assert_msg(sq_backward_embed(&b, ids, SAMPLES, err) == 0, "%s",
	    err);
	for (l = 0; l < layers; l++)
		ck_assert_msg(sq_backward_forward(&b, l, err) == 0, "%s", err);
	for (i = 0; i < n; i++)
		d[i] = ((float *)b.f.x.p)[i];
	while (l-- > 0) {
		ck_assert_msg(sq_backward_return(&b, l, err) == 0, "%s", err);
		ck_assert_msg(sq_backward_block(&b, l, &dx, &none, 1, err) ==
		    0, "%s", err);
	}
	sq_backward_release(&b);
}

/* To be held, or passed once more, is the same. */
START_TEST(returns)
{
	struct sq_model *m;
	struct sq_ctx ctx;
	char path[256], err[SQ_ERR];
	float *d[3];
	uint64_t all;
	size_t n, i;

	snprintf(path, sizeof(path), "tests/data/tiny/%s", models[_i]);
	ck_assert_msg((m = sq_model_open(path, err)) != NULL, "%s", err);
	ck_assert(m->config.layers > 1);
	ck_assert(sq_ctx_init(&ctx, sq_kern_find("auto", err), NULL) == 0);
	n = (size_t)m->config.dim * SAMPLES * LENGTH * sizeof(float);
	all = sq_trail_bytes(&m->config, SAMPLES * LENGTH, UINT64_MAX) -
	    m->config.layers * n;
	for (i = 0; i < 3; i++) {
		d[i] = malloc(n);
		through_all(m, &ctx, i * all / 2, d[i]);
	}
	ck_assert_mem_eq(d[0], d[1], n);
	ck_assert_mem_eq(d[0], d[2], n);
	for (i = 0; i < 3; i++)
		free(d[i]);
	sq_ctx_release(&ctx);
	sq_model_free(m);
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
	tcase_add_loop_test(tc, returns, 0,
	    (int)(sizeof(models) / sizeof(models[0])));
	tcase_set_timeout(tc, 60);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
