/* The decoder's weights: from the host, or at random; see dec.h. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/half.h"
#include "kernels/cuda/dec_state.h"

#define SPREAD		0.02f		/* of random weights */

/* Where a role's rows begin in its product. */
static struct dec_lin *
place(struct sq_decoder *d, enum sq_dec_role role, size_t layer, size_t *row)
{
	const struct sq_dec_shape *s = &d->s;
	struct dec_layer *l = layer < s->layers ? &d->layer[layer] : NULL;

	*row = 0;
	switch (role) {
	case SQ_DEC_K:
		*row = s->heads * s->head_dim;
		return &l->qkv;
	case SQ_DEC_V:
		*row = (s->heads + s->kv_heads) * s->head_dim;
		return &l->qkv;
	case SQ_DEC_Q:
		return &l->qkv;
	case SQ_DEC_O:
		return &l->o;
	case SQ_DEC_UP:
		*row = s->ffn;
		return &l->gu;
	case SQ_DEC_GATE:
		return &l->gu;
	case SQ_DEC_DOWN:
		return &l->down;
	default:
		return &d->head;
	}
}

/* Gate and up in turns of eight rows, so that one block has both. */
static void
put_w4(struct dec_lin *l, enum sq_dec_role role, size_t row,
    const struct sq_weight *w)
{
	int turns = role == SQ_DEC_GATE || role == SQ_DEC_UP;

	dec_pack_w4(sqc.stream, w->data, w->scales, w->rows, w->cols,
	    w->group_cols, role == SQ_DEC_UP ? 8 : turns ? 0 : row, turns,
	    l->rows, l->w4);
}

static int
w4_fits(const struct sq_weight *w)
{
	return w->grid == SQ_INT4 && w->zeros == NULL && w->group_rows == 1 &&
	    w->group_cols % 128 == 0 && w->cols % w->group_cols == 0 &&
	    w->scale_type == SQ_F16 && w->rows % 16 == 0;
}

/* Whether dec_mid() takes its scales. */
static int
is_fine(const struct sq_weight *w)
{
	const uint16_t *scale = w->scales;
	size_t i, n = w->rows * (w->cols / w->group_cols);

	for (i = 0; i < n; i++)
		if (!(fabsf(sq_f16_to_f32(scale[i])) <= DEC_MID_SCALE))
			return 0;
	return 1;
}

/* w is on the device. */
static int
put_weight(struct sq_decoder *d, struct sqc_call *k, enum sq_dec_role role,
    size_t layer, const struct sq_weight *w)
{
	size_t row;
	struct dec_lin *l = place(d, role, layer, &row);
	struct sq_mat m = { NULL, SQ_BF16, w->rows, w->cols, w->cols };

	if (role == SQ_DEC_EMBED) {
		m.p = d->embed;
		sqc_dequantize(sqc.stream, *w, NULL, 0, m);
		return 0;
	}
	if (l->w4 != NULL)
		put_w4(l, role, row, w);
	if (l->w16 != NULL) {
		m.p = (char *)l->w16 + row * w->cols * 2;
		sqc_dequantize(sqc.stream, *w, NULL, 0, m);
		return 0;
	}
	if ((m.p = sqc_temp(k, w->rows * w->cols * 2)) == NULL)
		return -1;
	sqc_dequantize(sqc.stream, *w, NULL, 0, m);
	dec_rows_e4m3(sqc.stream, m.p, w->rows, w->cols, (char *)l->w8 + row *
	    w->cols, l->s8 + row);
	return 0;
}

static int
fits(const struct sq_decoder *d, enum sq_dec_role role, size_t layer,
    const struct sq_weight *w)
{
	const struct sq_dec_shape *s = &d->s;
	size_t q = s->heads * s->head_dim, kv = s->kv_heads * s->head_dim;
	size_t rows[] = { q, kv, kv, s->dim, s->ffn, s->ffn, s->dim, s->vocab,
	    s->vocab };
	size_t cols = role == SQ_DEC_O ? q : role == SQ_DEC_DOWN ? s->ffn :
	    s->dim;

	return role <= SQ_DEC_HEAD && layer < s->layers &&
	    w->rows == rows[role] && w->cols == cols &&
	    (s->mode != SQ_DEC_W4 || role >= SQ_DEC_EMBED || w4_fits(w));
}

int
dec_weight(struct sq_decoder *d, enum sq_dec_role role, size_t layer,
    const struct sq_weight *w, char *err)
{
	struct sqc_call k;
	struct sq_weight dw;
	int r = -1;

	if (!fits(d, role, layer, w)) {
		snprintf(err, SQ_ERR, "decoder: a weight of another shape or "
		    "grid than it runs");
		return -1;
	}
	if (d->s.mode == SQ_DEC_W4 && role < SQ_DEC_EMBED && !is_fine(w))
		d->coarse = 1;
	sqc_call_begin(&k);
	dw = sqc_weight(&k, w);
	if (!k.failed)
		r = put_weight(d, &k, role, layer, &dw);
	if (sqc_call_end(&k, r) < 0)
		return dec_why(err);
	return sqc_ok(GPU(StreamSynchronize)(sqc.stream), "kernel") < 0 ?
	    dec_why(err) : 0;
}

int
dec_vector(struct sq_decoder *d, enum sq_dec_role role, size_t layer,
    const float *v, char *err)
{
	float *to = role == SQ_DEC_NORM ? d->norm : role == SQ_DEC_ATTN_NORM ?
	    d->layer[layer].attn_norm : d->layer[layer].ffn_norm;

	return sqc_ok(GPU(Memcpy)(to, v, d->s.dim * sizeof(*v),
	    GPU(MemcpyDefault)), "copy") < 0 ? dec_why(err) : 0;
}

int
dec_angles(struct sq_decoder *d, const float *a, size_t n, char *err)
{
	size_t size = n * d->s.head_dim * sizeof(*a);

	(void)GPU(Free)(d->angles);
	d->angles = NULL;
	if (sqc_ok(GPU(Malloc)((void **)&d->angles, size), "memory") < 0 ||
	    sqc_ok(GPU(Memcpy)(d->angles, a, size, GPU(MemcpyDefault)),
	    "copy") < 0)
		return dec_why(err);
	return 0;
}

/* A random weight of a role, as dec_weight() would have been given. */
static int
random_weight(struct sq_decoder *d, struct sqc_call *k, enum sq_dec_role role,
    size_t layer, uint64_t seed)
{
	const struct sq_dec_shape *s = &d->s;
	size_t q = s->heads * s->head_dim, kv = s->kv_heads * s->head_dim;
	size_t rows[] = { q, kv, kv, s->dim, s->ffn, s->ffn, s->dim, s->vocab,
	    s->vocab };
	struct sq_weight w = { .grid = SQ_DENSE, .type = SQ_BF16,
	    .rows = rows[role], .cols = role == SQ_DEC_O ? q :
	    role == SQ_DEC_DOWN ? s->ffn : s->dim, .group_rows = 1,
	    .group_cols = 128, .scale_type = SQ_F16 };
	void *data = sqc_temp(k, w.rows * w.cols * 2), *scales;

	if (data == NULL)
		return -1;
	w.data = data;
	if (s->mode == SQ_DEC_W4 && role < SQ_DEC_EMBED) {
		if ((scales = sqc_temp(k, w.rows * w.cols / 64)) == NULL)
			return -1;
		w.grid = SQ_INT4;
		w.scales = scales;
		dec_random_w4(sqc.stream, seed, w.rows, w.cols, data, scales,
		    SPREAD);
	} else
		dec_random_bf16(sqc.stream, seed, w.rows * w.cols, data,
		    SPREAD);
	return put_weight(d, k, role, layer, &w);
}

int
dec_random(struct sq_decoder *d, uint64_t seed, char *err)
{
	struct sqc_call k;
	size_t i, role;
	int r = 0;

	for (i = 0; i < d->s.layers && r == 0; i++)
		for (role = SQ_DEC_Q; role <= SQ_DEC_HEAD && r == 0; role++) {
			if (role >= SQ_DEC_EMBED && i > 0)
				continue;
			sqc_call_begin(&k);
			r = sqc_call_end(&k, random_weight(d, &k,
			    (enum sq_dec_role)role, i, seed + (i * 16 +
			    role) * 1000003));
		}
	for (i = 0; i < d->s.layers; i++) {
		dec_ones(sqc.stream, d->layer[i].attn_norm, d->s.dim);
		dec_ones(sqc.stream, d->layer[i].ffn_norm, d->s.dim);
	}
	dec_ones(sqc.stream, d->norm, d->s.dim);
	if (r < 0 || sqc_ok(GPU(StreamSynchronize)(sqc.stream), "kernel") < 0)
		return dec_why(err);
	return 0;
}
