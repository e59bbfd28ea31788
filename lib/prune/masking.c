/* Weights get masks; see masking.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/weight.h"
#include "prune/masking.h"
#include "prune/movement.h"
#include "quant/chunks.h"

double
sq_masking_ratio(const struct sq_masking *k)
{
	return k->pattern.kind == SQ_MASK_RUNS ?
	    1 - (double)k->pattern.n / k->pattern.m : k->sparsity;
}

int
sq_masking_needs_stats(const struct sq_masking *k)
{
	return k->criterion == SQ_BY_WANDA ||
	    k->criterion == SQ_BY_SPARSEGPT || k->layer->sweeps > 0;
}

int
sq_masking_scores(const struct sq_masking *k, const struct sq_tensor *t,
    const float *w, float *score, char *err)
{
	int weighs = k->criterion == SQ_BY_WANDA ||
	    k->criterion == SQ_BY_SPARSEGPT;
	const float *h = k->layer->factor.diagonal;
	size_t r, c, i = 0, rows = t->dim[0], cols = t->dim[1];
	const float *moved;

	if (k->movement != NULL) {
		moved = sq_movement_of(k->movement, t->name);
		if (moved == NULL)
			return sq_fail(err, "tensor '%s': has no scores",
			    t->name);
		memcpy(score, moved, rows * cols * sizeof(*score));
		return 0;
	}
	for (r = 0; r < rows; r++)
		for (c = 0; c < cols; c++, i++)
			score[i] = w[i] * w[i] * (weighs ? h[c] : 1);
	return 0;
}

static int
find_mask(void *arg, const struct sq_tensor *t, const float *w,
    struct sq_mask *m, char *err)
{
	struct sq_masking *k = arg;
	float *score = malloc(m->rows * m->cols * sizeof(*score));
	size_t i;
	int r = -1;

	if (score == NULL)
		return sq_fail(err, "tensor '%s': out of memory", t->name);
	for (i = 0; i < m->rows * m->cols && isfinite(w[i]); i++)
		;
	if (i < m->rows * m->cols)
		sq_fail(err, "tensor '%s': its weights hold infinity or NaN",
		    t->name);
	else if (sq_masking_scores(k, t, w, score, err) == 0)
		r = sq_score_mask(m, score, k->sparsity,
		    k->criterion == SQ_BY_WANDA, err);
	free(score);
	return r;
}

void
sq_masking_begin(struct sq_masking *k, const struct sq_tensor *t)
{
	struct sq_gptq_layer *l = k->layer;
	const struct sq_sparse none = { .kind = SQ_MASK_NONE };
	int chooses = k->criterion == SQ_BY_SPARSEGPT &&
	    sq_gptq_chooses(&k->pattern, t->dim[1]);

	l->rule = (struct sq_qrule){ .grid = SQ_DENSE, .symmetric = 1,
	    .group_rows = 1 };
	l->choose = chooses ? k->pattern : none;
	l->find = k->pattern;
	l->find_mask = chooses ? NULL : find_mask;
	l->find_arg = k;
	l->sparsity = k->sparsity;
	l->plain = k->criterion != SQ_BY_SPARSEGPT && l->sweeps == 0;
	l->swap = k->keep_mask ? none : k->pattern;
}

float *
sq_masking_values(struct sq_masking *k, const struct sq_tensor *t,
    const void *payload, char *err)
{
	struct sq_mat m = { NULL, SQ_F32, t->dim[0], t->dim[1], t->dim[1] };
	struct sq_weight w;

	if (sq_weight_init(&w, t, payload, err) < 0)
		return NULL;
	m.p = malloc(m.rows * m.cols * sizeof(float));
	if (m.p == NULL)
		sq_fail(err, "tensor '%s': out of memory", t->name);
	else if (sq_dequantize(k->layer->ctx, &w, 0, &m) == 0)
		return m.p;
	else
		sq_fail(err, "tensor '%s': no kernel reads it", t->name);
	free(m.p);
	return NULL;
}

float *
sq_masking_read(struct sq_masking *k, struct sq_in *in,
    const struct sq_tensor *t, char *err)
{
	unsigned char *payload = sq_in_payload(in, SQ_MAX_PAYLOAD);
	float *w;

	if (payload == NULL) {
		sq_fail(err, "%s", in->err);
		return NULL;
	}
	w = sq_masking_values(k, t, payload, err);
	free(payload);
	return w;
}

/* The mask alone, without any statistics. */
static int
make_alone(struct sq_masking *k, const struct sq_tensor *t, const float *w,
    struct sq_tensor *made, unsigned char *payload, char *err)
{
	struct sq_mask m = { k->pattern, t->dim[0], t->dim[1],
	    payload + made->part[1].offset };
	struct sq_weight from = { .grid = SQ_DENSE, .type = SQ_F32,
	    .rows = m.rows, .cols = m.cols };
	struct sq_mat to = { payload, t->type, m.rows, m.cols, m.cols };
	float *v = malloc(m.rows * m.cols * sizeof(*v));
	size_t i;
	int r = -1;

	if (v == NULL)
		return sq_fail(err, "tensor '%s': out of memory", t->name);
	if (find_mask(k, t, w, &m, err) == 0) {
		for (i = 0; i < m.rows * m.cols; i++)
			v[i] = sq_mask_get(&m, i / m.cols, i % m.cols) ?
			    w[i] : 0;
		from.data = v;
		r = sq_dequantize(k->layer->ctx, &from, 0, &to) == 0 ? 0 :
		    sq_fail(err, "tensor '%s': no kernel writes it", t->name);
	}
	free(v);
	return r;
}

int
sq_masking_make(struct sq_masking *k, const struct sq_tensor *t,
    const float *w, struct sq_tensor *made, unsigned char **payload, char *err)
{
	struct sq_tensor named = *t;

	sq_masking_begin(k, t);
	if (sq_gptq_concerns(k->layer, t->name) ||
	    sq_masking_needs_stats(k))
		return sq_gptq_matrix(k->layer, t, w, NULL, made, payload,
		    err);
	named.sparse = k->pattern;
	*made = named;
	sq_tensor_layout(made, SQ_F16, 1);
	if ((*payload = calloc(1, (size_t)made->length)) == NULL)
		return sq_fail(err, "tensor '%s': out of memory", t->name);
	if (make_alone(k, &named, w, made, *payload, err) == 0)
		return 0;
	free(*payload);
	return -1;
}
