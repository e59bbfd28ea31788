/*
 * Scores of movement against finite differences of the whole model in float64
 * (block_ref.h): (w dL/dw)^2, L the negative log-likelihood of a sample; the
 * second round's, with the weights that the first one's mask leaves.
 */
#include <stdio.h>
#include <unistd.h>

#include "base/io.h"
#include "base/pool.h"
#include "base/rng.h"
#include "formats/fmt_stats.h"
#include "model/backward.h"
#include "model/import.h"
#include "prune/movement.h"
#include "tests/unit/block_ref.h"

#define MODEL	"tests/data/tiny/llama"
#define STEP	1e-5
#define PROBES	4		/* weights of a tensor that are held */
#define LINEARS	(DOWN + 1)

static const char *const names[LINEARS] = { "self_attn.q_proj",
	"self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
	"mlp.gate_proj", "mlp.up_proj", "mlp.down_proj" };

/* The model in float64. */
struct whole {
	const struct sq_model *m;
	struct ref *block;
	size_t dim, vocab;
	double *embed, *norm, *head;
	uint32_t id[2 * LENGTH];
};

static char err[SQ_ERR];

static double *
matrix(struct sq_ctx *ctx, const struct sq_weight *w)
{
	float *f = malloc(w->rows * w->cols * sizeof(*f));
	struct sq_mat m = { f, SQ_F32, w->rows, w->cols, w->cols };
	double *d;

	ck_assert(sq_dequantize(ctx, w, 0, &m) == 0);
	d = doubles(f, w->rows * w->cols);
	free(f);
	return d;
}

static void
open_whole(struct whole *a, struct sq_ctx *ctx)
{
	size_t layers, i;

	ck_assert_msg((a->m = sq_model_open(MODEL, err)) != NULL, "%s", err);
	layers = (size_t)a->m->config.layers;
	a->dim = (size_t)a->m->config.dim;
	a->vocab = (size_t)a->m->config.vocab;
	a->block = calloc(layers, sizeof(*a->block));
	for (i = 0; i < layers; i++) {
		take_block(&a->block[i], a->m, ctx, i, 1);
		a->block[i].count[X] = LENGTH * a->dim;
		a->block[i].p[X] = calloc(LENGTH * a->dim, sizeof(double));
	}
	a->embed = matrix(ctx, &a->m->embed.w);
	a->head = matrix(ctx, &a->m->head.w);
	a->norm = doubles(a->m->norm, a->dim);
}

static void
close_whole(struct whole *a)
{
	size_t i;

	for (i = 0; i < a->m->config.layers; i++)
		drop_block(&a->block[i]);
	free(a->block);
	free(a->embed);
	free(a->head);
	free(a->norm);
	sq_model_free((struct sq_model *)(uintptr_t)a->m);
}

/* The negative log-likelihood of a sample. */
static double
loss_of(const struct whole *a, size_t sample)
{
	const struct sq_config *c = &a->m->config;
	const uint32_t *id = a->id + sample * LENGTH;
	double *x = malloc(LENGTH * a->dim * sizeof(*x));
	double *l = malloc(LENGTH * a->vocab * sizeof(*l)), sum, loss = 0;
	size_t i, j;

	for (i = 0; i < LENGTH; i++)
		memcpy(x + i * a->dim, a->embed + id[i] * a->dim,
		    a->dim * sizeof(*x));
	for (i = 0; i < c->layers; i++) {
		memcpy(a->block[i].p[X], x, LENGTH * a->dim * sizeof(*x));
		block_of(&a->block[i], x);
	}
	norm(x, a->norm, LENGTH, a->dim, c->eps, x);
	linear(x, a->head, NULL, LENGTH, a->dim, a->vocab, l);
	for (i = 0; i + 1 < LENGTH; i++) {
		for (sum = 0, j = 0; j < a->vocab; j++)
			sum += exp(l[i * a->vocab + j]);
		loss += log(sum) - l[i * a->vocab + id[i + 1]];
	}
	free(x);
	free(l);
	return loss;
}

/* A stream of the model, and samples of its tokens, in a file. */
static int
stream(const struct whole *a, size_t samples)
{
	struct sq_tokens t = { .id = (uint32_t *)(uintptr_t)a->id,
	    .count = samples * LENGTH, .length = LENGTH };
	int plain = sq_temp_file(), fd = sq_temp_file();
	struct sq_progress quiet = { 0 };
	struct sq_out out;
	struct sq_in in;

	snprintf(t.source, sizeof(t.source), "%032d", 0);
	snprintf(t.tokenizer, sizeof(t.tokenizer), "%032d", 0);
	ck_assert(sq_out_open(&out, plain, 0) == 0);
	ck_assert_msg(sq_import(a->m->source, &out, NULL, "0", &quiet,
	    err) == 0, "%s", err);
	sq_out_release(&out);
	ck_assert(lseek(plain, 0, SEEK_SET) == 0);
	ck_assert(sq_in_open(&in, plain) == 0);
	ck_assert(sq_out_open(&out, fd, 0) == 0);
	while (sq_in_next(&in) > 0) {
		ck_assert_msg(sq_out_copy(&out, &in) == 0, "%s", out.err);
		if (in.type == SQ_HEADER)
			ck_assert_msg(sq_tokens_write(&t, &out) == 0, "%s",
			    out.err);
	}
	ck_assert_msg(sq_out_finish(&out) == 0, "%s", out.err);
	sq_in_release(&in);
	sq_out_release(&out);
	close(plain);
	ck_assert(lseek(fd, 0, SEEK_SET) == 0);
	return fd;
}

/* The scores of 2:4 from so many samples, each of them a round. */
static void
survey(struct sq_movement *m, const struct whole *a, struct sq_ctx *ctx,
    size_t samples, enum sq_prec prec)
{
	static const struct sq_masking masking = { .criterion =
	    SQ_BY_MOVEMENT, .pattern = { SQ_MASK_RUNS, 2, 4 } };
	struct sq_progress quiet = { 0 };
	struct sq_filter f = { .name = "test", .progress = &quiet };
	int fd = stream(a, samples);

	*m = (struct sq_movement){ .masking = &masking, .ctx = ctx,
	    .prec = prec, .rounds = (int)samples };
	ck_assert(sq_in_open(&f.in, fd) == 0);
	ck_assert_msg(sq_movement_survey(m, &f) == 0, "%s", f.err);
	sq_in_release(&f.in);
	close(fd);
}

static const float *
scores(struct sq_movement *m, size_t layer, int linear)
{
	char name[SQ_NAME];
	const float *s;

	snprintf(name, sizeof(name), "model.layers.%zu.%s.weight", layer,
	    names[linear]);
	ck_assert_msg((s = sq_movement_of(m, name)) != NULL, "%s", name);
	return s;
}

/* Of four weights in a row, those of the two greatest scores stay. */
static void
mask(double *w, const float *score, size_t n)
{
	size_t run, i, j, above;

	for (run = 0; run < n; run += 4)
		for (i = 0; i < 4; i++) {
			for (above = j = 0; j < 4; j++)
				above += score[run + j] > score[run + i] ||
				    (score[run + j] == score[run + i] &&
				    j < i);
			if (above >= 2)
				w[run + i] = 0;
		}
}

/* What a sample adds to the scores of a tensor, at some weights: whole has what
 * the weights were, `before' and `after' the scores. */
static void
probe(struct whole *a, size_t sample, size_t layer, int linear,
    const double *whole, const float *before, const float *after,
    double bound)
{
	double *w = a->block[layer].p[linear], keep, up, down, want, most = 0;
	size_t n = a->block[layer].count[linear], i, at;
	struct sq_rng rng = { (uint64_t)linear };
	double got;

	for (i = 0; i < n; i++) {
		got = (double)after[i] - (before == NULL ? 0 : before[i]);
		most = got > most ? got : most;
	}
	ck_assert(most > 0);
	for (i = 0; i < PROBES; i++) {
		at = i == 0 ? 0 : (size_t)(sq_rng_uniform(&rng) * (double)n);
		got = (double)after[at] - (before == NULL ? 0 : before[at]);
		keep = w[at];
		w[at] = keep + STEP;
		up = loss_of(a, sample);
		w[at] = keep - STEP;
		down = loss_of(a, sample);
		w[at] = keep;
		want = whole[at] * (up - down) / (2 * STEP);
		want *= want;
		ck_assert_msg(fabs(want - got) < bound * sqrt(want * most) +
		    bound * bound * most, "layer %zu, %s, weight %zu: %g, "
		    "differences give %g, the greatest is %g", layer,
		    names[linear], at, got, want, most);
	}
}

static void
check_level(const char *level, enum sq_prec prec, double bound)
{
	struct sq_pool *pool = sq_pool_new(2);
	struct sq_movement one, two;
	struct whole a = { 0 };
	struct sq_rng rng = { 3 };
	struct sq_ctx ctx;
	double *was;
	size_t l, i;
	int k;

	ck_assert(sq_ctx_init(&ctx, sq_kern_find(level, err), pool) == 0);
	open_whole(&a, &ctx);
	for (i = 0; i < 2 * LENGTH; i++)
		a.id[i] = (uint32_t)(sq_rng_uniform(&rng) * (double)a.vocab);
	survey(&one, &a, &ctx, 1, prec);
	survey(&two, &a, &ctx, 2, prec);
	for (l = 0; l < a.m->config.layers; l++)
		for (k = 0; k < LINEARS; k++)
			probe(&a, 0, l, k, a.block[l].p[k], NULL,
			    scores(&one, l, k), bound);
	for (l = 0; l < a.m->config.layers; l++)
		for (k = 0; k < LINEARS; k++)
			mask(a.block[l].p[k], scores(&one, l, k),
			    a.block[l].count[k]);
	for (l = 0; l < a.m->config.layers; l++)
		for (k = 0; k < LINEARS; k++) {
			was = matrix(&ctx, &sq_layer_linear(&a.m->layer[l],
			    k)->w);
			probe(&a, 1, l, k, was, scores(&one, l, k),
			    scores(&two, l, k), bound);
			free(was);
		}
	sq_movement_release(&one);
	sq_movement_release(&two);
	close_whole(&a);
	sq_ctx_release(&ctx);
	sq_pool_free(pool);
}

START_TEST(differences)
{
	const char *const *level;

	for (level = sq_kern_levels(); *level != NULL; level++)
		if (sq_kern_find(*level, err) != NULL)
			check_level(*level, SQ_PREC_F32, 1e-4);
	check_level("auto", SQ_PREC_BF16, 0.05);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("movement");
	TCase *tc = tcase_create("scores");
	SRunner *sr;
	int failed;

	tcase_add_test(tc, differences);
	tcase_set_timeout(tc, 60);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
