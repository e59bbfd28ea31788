/* Where a model departs from its reference; see layers.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "eval/layers.h"
#include "model/lane.h"

struct sums {
	double error, norm, cosine;
	uint64_t tokens;
};

static void
compare(const struct sq_mat *x, const struct sq_mat *ref, struct sums *s)
{
	double e, xx, rr, xr, d;
	const float *a, *b;
	size_t i, j;

	for (i = 0; i < x->rows; i++) {
		a = (const float *)x->p + i * x->stride;
		b = (const float *)ref->p + i * ref->stride;
		e = xx = rr = xr = 0;
		for (j = 0; j < x->cols; j++) {
			d = (double)a[j] - b[j];
			e += d * d;
			xx += (double)a[j] * a[j];
			rr += (double)b[j] * b[j];
			xr += (double)a[j] * b[j];
		}
		s->error += e;
		s->norm += rr;
		s->cosine += xx > 0 && rr > 0 ? xr / sqrt(xx * rr) : 1;
	}
	s->tokens += x->rows;
}

/* The hidden states on the host; buf has room for a lane's rows. */
static int
hidden(struct sq_lane *l, float *buf, struct sq_mat *x, char *err)
{
	*x = l->f.x;
	x->p = buf;
	return sq_forward_get(&l->f, buf, err);
}

static int
chunk(struct sq_lane *m, struct sq_lane *ref, const uint32_t *ids, size_t n,
    float *buf, struct sums *s, char *err)
{
	float *second = buf + m->rows * m->f.x.cols;
	struct sq_mat x, y;
	struct sq_feed a = { &m->seq, ids, n }, b = { &ref->seq, ids, n };
	size_t i, layers = (size_t)m->f.model->config.layers;

	if (sq_kvseq_reserve(&m->seq, n, err) < 0 ||
	    sq_kvseq_reserve(&ref->seq, n, err) < 0 ||
	    sq_forward_embed(&m->f, &a, 1, err) < 0 ||
	    sq_forward_embed(&ref->f, &b, 1, err) < 0)
		return -1;
	for (i = 0; i < layers; i++) {
		if (sq_forward_block(&m->f, i, &a, 1, err) < 0 ||
		    sq_forward_block(&ref->f, i, &b, 1, err) < 0)
			return -1;
		if (hidden(m, buf, &x, err) < 0 ||
		    hidden(ref, second, &y, err) < 0)
			return -1;
		compare(&x, &y, &s[i]);
	}
	sq_kvseq_advance(&m->seq, n);
	sq_kvseq_advance(&ref->seq, n);
	return 0;
}

static int
all_windows(const struct sq_ppl *p, struct sq_lane *m, struct sq_lane *ref,
    const uint32_t *ids, size_t n, struct sums *s, char *err)
{
	float *buf = malloc((m->rows + ref->rows) * m->f.x.cols *
	    sizeof(*buf));
	size_t at, done, rows;
	int r = buf == NULL ? sq_fail(err, "out of memory") : 0;

	for (at = 0; r == 0 && at + p->length <= n; at += p->length) {
		sq_kvseq_clear(&m->seq);
		sq_kvseq_clear(&ref->seq);
		for (done = 0; r == 0 && done < p->length; done += rows) {
			rows = p->length - done < m->rows ?
			    p->length - done : m->rows;
			r = chunk(m, ref, ids + at + done, rows, buf, s, err);
			sq_progress_add(p->progress, rows);
		}
	}
	free(buf);
	return r;
}

int
sq_layers_run(const struct sq_ppl *p, const uint32_t *ids, size_t n,
    struct sq_layer_error *error, char *err)
{
	size_t i, layers = (size_t)p->model->config.layers;
	struct sq_lane m = { .rows = 0 }, ref = { .rows = 0 };
	struct sums *s = calloc(layers, sizeof(*s));
	int r = -1;

	if (s == NULL)
		return sq_fail(err, "out of memory");
	if (p->reference->config.layers != layers ||
	    p->reference->config.dim != p->model->config.dim) {
		sq_fail(err, "the reference has another shape");
	} else if (n < p->length) {
		sq_fail(err, "%zu tokens are fewer than a window", n);
	} else if (sq_lane_init_kv(&m, p->model, p->ctx, p->prec, p->kv,
	    p->length, layers, err) == 0 &&
	    sq_lane_init(&ref, p->reference, p->ctx, p->prec, p->length,
	    layers, err) == 0 &&
	    all_windows(p, &m, &ref, ids, n, s, err) == 0) {
		for (i = 0; i < layers; i++)
			error[i] = (struct sq_layer_error){
			    s[i].norm > 0 ? s[i].error / s[i].norm : 0,
			    s[i].cosine / (double)s[i].tokens };
		r = 0;
	}
	sq_lane_release(&m);
	sq_lane_release(&ref);
	free(s);
	return r;
}
