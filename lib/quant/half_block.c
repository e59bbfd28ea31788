/* Half a block of a model; see half_block.h. */
#include <stdlib.h>
#include <string.h>

#include "model/weight.h"
#include "quant/half_block.h"
#include "quant/put_floats.h"

#define PIECE	((size_t)4 << 20)	/* bytes that are written at a time */

static void
held_release(struct sq_held *h)
{
	sq_stats_release(&h->stats);
	free(h->data);
	free(h->row);
	free(h->col);
	memset(h, 0, sizeof(*h));
}

void
sq_half_release(struct sq_half *b)
{
	size_t i;

	for (i = 0; i < b->n; i++)
		held_release(&b->rec[i]);
	b->n = 0;
	b->bytes = 0;
}

int
sq_half_take(struct sq_half *b, struct sq_filter *f,
    const struct sq_tensor *t, const struct sq_slot *slot, uint64_t max)
{
	struct sq_held *h = &b->rec[b->n];
	uint64_t bytes = f->in.length;

	if (b->n == SQ_HALF_RECORDS)
		return sq_fail(f->err, "%s: more records than a block has",
		    f->name);
	if (max != 0 && b->bytes + bytes > max)
		return sq_fail(f->err, "-M: half a block takes more than the "
		    "%juM that there are", (uintmax_t)max >> 20);
	memset(h, 0, sizeof(*h));
	if (t == NULL) {
		h->is_stats = 1;
		if (sq_stats_read(&h->stats, &f->in, bytes) < 0)
			return sq_fail(f->err, "%s: %s", f->name, f->in.err);
	} else {
		h->t = *t;
		h->slot = slot;
		if ((h->data = sq_in_payload(&f->in, bytes)) == NULL)
			return sq_fail(f->err, "%s: %s", f->name, f->in.err);
		sq_progress_add(f->progress, bytes);
	}
	b->bytes += bytes;
	b->n++;
	return 0;
}

struct sq_held *
sq_half_tensor(struct sq_half *b, enum sq_role role, int bias)
{
	struct sq_held *h;
	size_t i;

	for (i = 0; i < b->n; i++) {
		h = &b->rec[i];
		if (!h->is_stats && h->slot->role == role &&
		    h->slot->bias == bias)
			return h;
	}
	return NULL;
}

struct sq_stats *
sq_half_stats(struct sq_half *b, const char *tensor, int kv)
{
	struct sq_stats *s;
	size_t i, j;

	for (i = 0; i < b->n; i++) {
		s = &b->rec[i].stats;
		if (!b->rec[i].is_stats || s->is_kv != kv)
			continue;
		for (j = 0; j < s->ntensors; j++)
			if (strcmp(s->tensor[j], tensor) == 0)
				return s;
	}
	return NULL;
}

int
sq_held_rows(const struct sq_held *h, struct sq_ctx *ctx, size_t row,
    const struct sq_mat *out)
{
	struct sq_weight w;
	char err[SQ_ERR];
	size_t i, j;
	float *p;

	if (sq_weight_init(&w, &h->t, h->data, err) < 0 ||
	    sq_dequantize(ctx, &w, row, out) != 0)
		return -1;
	for (i = 0; i < out->rows; i++) {
		p = (float *)out->p + i * out->stride;
		for (j = 0; h->row != NULL && j < out->cols; j++)
			p[j] *= h->row[row + i];
		for (j = 0; h->col != NULL && j < out->cols; j++)
			p[j] *= h->col[j];
	}
	return 0;
}

int
sq_held_scale(struct sq_held *h, int rows, const float *s, size_t n)
{
	float **to = rows ? &h->row : &h->col;
	size_t i;

	if (*to == NULL) {
		if ((*to = malloc(n * sizeof(**to))) == NULL)
			return -1;
		for (i = 0; i < n; i++)
			(*to)[i] = 1;
	}
	for (i = 0; i < n; i++)
		(*to)[i] *= s[i];
	return 0;
}

static void
scale_all(float *v, const float *s, uint64_t n)
{
	uint64_t i;

	for (i = 0; v != NULL && i < n; i++)
		v[i] *= s[i];
}

void
sq_stats_scale(struct sq_stats *st, const float *s)
{
	uint64_t i, j, c = st->channels;
	float *h = st->h;

	scale_all(st->min, s, c);
	scale_all(st->max, s, c);
	scale_all(st->mean, s, c);
	scale_all(st->absmean, s, c);
	scale_all(st->hdiag, s, c);
	scale_all(st->hdiag, s, c);
	for (i = 0; h != NULL && i < c; i++)
		for (j = i; j < c; j++)
			*h++ *= s[i] * s[j];
	free(st->hist);
	st->hist = NULL;
	st->rescaled = 1;
}

/* ---- writing ---- */

/* The values of a tensor with factors, and its mask. */
static int
put_values(const struct sq_held *h, struct sq_ctx *ctx, struct sq_out *out,
    const struct sq_tensor *t, char *err)
{
	const struct sq_part *old = sq_tensor_part(&h->t, "mask");
	size_t cols = (size_t)sq_tensor_cols(t), row, n;
	size_t all = (size_t)sq_tensor_rows(t);
	size_t step = PIECE / (cols * sizeof(float)) + 1;
	struct sq_mat m = { NULL, SQ_F32, 0, cols, cols };
	int r = 0;

	if ((m.p = malloc(step * cols * sizeof(float))) == NULL)
		return sq_fail(err, "out of memory");
	for (row = 0; r == 0 && row < all; row += n) {
		m.rows = n = all - row < step ? all - row : step;
		if (sq_held_rows(h, ctx, row, &m) < 0)
			r = sq_fail(err, "tensor '%s': no kernel reads it",
			    t->name);
		else
			r = sq_put_floats(out, ctx, m.p, n * cols, t, err);
	}
	free(m.p);
	if (r == 0 && old != NULL && (sq_out_gap(out, t->part[0].length,
	    t->part[1].offset) < 0 || sq_out_write(out, h->data + old->offset,
	    (size_t)old->length) < 0))
		r = sq_fail(err, "%s", out->err);
	return r;
}

static int
put_tensor(const struct sq_held *h, struct sq_filter *f, struct sq_ctx *ctx,
    int wide)
{
	struct sq_tensor t = h->t;
	int r = 0;

	if (wide && (h->row != NULL || h->col != NULL)) {
		t.type = SQ_F32;
		sq_tensor_layout(&t, SQ_F16, sq_tensor_part(&h->t, "mask") !=
		    NULL);
	}
	if (sq_out_tensor(&f->out, &t) < 0)
		return sq_fail(f->err, "%s", f->out.err);
	if (h->row != NULL || h->col != NULL)
		r = put_values(h, ctx, &f->out, &t, f->err);
	else if (sq_out_write(&f->out, h->data, (size_t)t.length) < 0)
		r = sq_fail(f->err, "%s", f->out.err);
	if (r == 0 && sq_out_end(&f->out) < 0)
		r = sq_fail(f->err, "%s", f->out.err);
	return r;
}

int
sq_half_put(struct sq_half *b, struct sq_filter *f, struct sq_ctx *ctx,
    int wide)
{
	struct sq_held *h;
	size_t i;
	int r = 0;

	for (i = 0; r == 0 && i < b->n; i++) {
		h = &b->rec[i];
		if (!h->is_stats)
			r = put_tensor(h, f, ctx, wide);
		else if (sq_stats_write(&h->stats, &f->out) < 0)
			r = sq_fail(f->err, "%s", f->out.err);
		held_release(h);
	}
	sq_half_release(b);
	return r;
}
