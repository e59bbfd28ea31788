/*
 * The references of kv_append, kv_read and attention.  Attention is taken in
 * float64 from the float32 queries and the cached values, without rounding
 * between: the greatest score first, then the sums, so that exp never
 * overflows.
 */
#include <math.h>

#include "kernels/ref/ref.h"
#include "kernels/ref/value.h"
#include "kernels/rows.h"

/* One side of the cache of a sequence: keys or values. */
struct side {
	const struct sq_kv *kv;
	const struct sq_kv_side *how;
	void *const *page, *const *near;
	void *sink;
};

static struct side
side_of(const struct sq_kv *kv, const struct sq_seq *s, int values)
{
	return values ?
	    (struct side){ kv, &kv->v, s->v, s->near_v, s->sink_v } :
	    (struct side){ kv, &kv->k, s->k, s->near_k, s->sink_k };
}

static uint16_t
f16_of(float x)
{
	x += 0.0f;			/* no -0 */
	return sq_f32_to_f16(fminf(fmaxf(x, -65504), 65504));
}

/* n codes are one group; element i of it is x[i * step], in row i or, by
 * channel, in row i of the page. */
struct group {
	const struct side *s;
	char *head;			/* of the page */
	size_t token, i, n;		/* its first element */
	int down;			/* elements follow over tokens */
};

static void
put_code(const struct group *g, size_t at, int u)
{
	size_t row = sq_page_row(g->s->kv, g->s->how);
	size_t bits = sq_page_bits(g->s->how->grid);
	size_t token = g->token + (g->down ? at : 0);
	size_t bit = (g->i + (g->down ? 0 : at)) * bits;
	uint8_t *p = (uint8_t *)g->head + token * row + bit / 8;
	unsigned mask = ((1u << bits) - 1) << bit % 8;

	*p = (uint8_t)((*p & ~mask) | ((unsigned)u << bit % 8 & mask));
}

static int
code_of(enum sq_page_grid grid, float x, float s, float m)
{
	float most = grid == SQ_PAGE_INT4 ? 15 : 3;

	if (s == 0)
		return 0;
	if (grid == SQ_PAGE_INT8)
		return (int)fminf(fmaxf(rintf(x / s), -127), 127);
	if (grid == SQ_PAGE_E4M3)
		return sq_f32_to_e4m3(x / s);
	if (grid == SQ_PAGE_E5M2)
		return sq_f32_to_e5m2(x / s);
	return (int)fminf(fmaxf(rintf((x - m) / s), 0), most);
}

/* Codes, scale and minimum of a group of values. */
static void
put_group(const struct group *g, const float *x)
{
	const struct sq_kv *kv = g->s->kv;
	enum sq_page_grid grid = g->s->how->grid;
	uint16_t *scale = (uint16_t *)(g->head + sq_page_scale_at(kv,
	    g->s->how)) + sq_page_scale(kv, g->s->how, g->token, g->i);
	uint16_t *least = scale + sq_page_scales(kv, g->s->how);
	float lo = x[0], hi = x[0], most = 0, m = 0;
	size_t i;

	for (i = 0; i < g->n; i++) {
		lo = fminf(lo, x[i]);
		hi = fmaxf(hi, x[i]);
		most = fmaxf(most, fabsf(x[i]));
	}
	if (sq_page_grouped(grid)) {
		*least = f16_of(lo);
		m = sq_f16_to_f32(*least);
		*scale = f16_of(fmaxf(hi - m, 0) /
		    (grid == SQ_PAGE_INT4 ? 15 : 3));
	} else
		*scale = f16_of(most / (grid == SQ_PAGE_INT8 ? 127 :
		    grid == SQ_PAGE_E4M3 ? 448 : 57344));
	for (i = 0; i < g->n; i++)
		put_code(g, i, code_of(grid, x[i], sq_f16_to_f32(*scale), m));
}

static void
put_plain(const struct side *s, void *to, const float *x)
{
	size_t i;

	for (i = 0; i < s->kv->dim; i++)
		sq_value_put(to, s->kv->type, i, x[i]);
}

/* A channel of the 32 tokens that end at pos, from the near page. */
static void
put_channel(const struct side *s, size_t head, size_t pos, size_t i)
{
	struct group g = { s, sq_page_at(s->kv, s->how, s->page, head, pos),
	    pos % s->kv->page - (SQ_PAGE_GROUP - 1), i, SQ_PAGE_GROUP, 1 };
	float x[SQ_PAGE_GROUP];
	size_t t;

	for (t = 0; t < SQ_PAGE_GROUP; t++)
		x[t] = sq_value(sq_near_at(s->kv, s->near, head, pos + 1 -
		    SQ_PAGE_GROUP + t), s->kv->type, i);
	put_group(&g, x);
}

/* One head of one token. */
static void
append_head(const struct side *s, size_t head, size_t pos, const float *x)
{
	const struct sq_kv *kv = s->kv;
	struct group g = { .s = s, .token = pos % kv->page };
	size_t i, size = sq_page_grouped(s->how->grid) ? SQ_PAGE_GROUP :
	    kv->dim;

	if (kv->window > 0)
		put_plain(s, sq_near_at(kv, s->near, head, pos), x);
	if (pos < kv->sink)
		put_plain(s, sq_sink_at(kv, s->sink, head, pos), x);
	g.head = sq_page_at(kv, s->how, s->page, head, pos);
	if (s->how->grid == SQ_PAGE_PLAIN) {
		put_plain(s, g.head + g.token * sq_page_row(kv, s->how), x);
	} else if (!s->how->by_channel) {
		for (g.i = 0; g.i < kv->dim; g.i += g.n) {
			g.n = kv->dim - g.i < size ? kv->dim - g.i : size;
			put_group(&g, x + g.i);
		}
	} else if ((pos + 1) % SQ_PAGE_GROUP == 0) {
		for (i = 0; i < kv->dim; i++)
			put_channel(s, head, pos, i);
	}
}

int
sq_kv_append_ref(struct sq_ctx *c, const struct sq_kv *kv,
    const struct sq_seq *seq, size_t nseq, const struct sq_mat *k,
    const struct sq_mat *v)
{
	const struct sq_seq *s;
	struct side keys, values;
	size_t t, h;

	(void)c;
	if (!sq_append_allows(kv, seq, nseq, k, v))
		return SQ_UNSUP;
	for (s = seq; s < seq + nseq; s++) {
		keys = side_of(kv, s, 0);
		values = side_of(kv, s, 1);
		for (t = 0; t < s->n; t++)
			for (h = 0; h < kv->heads; h++) {
				append_head(&keys, h, s->pos + t,
				    sq_row(k, s->row + t) + h * kv->dim);
				append_head(&values, h, s->pos + t,
				    sq_row(v, s->row + t) + h * kv->dim);
			}
	}
	return 0;
}

static float
value_of_code(enum sq_page_grid grid, float scale, float least, const uint8_t *row,
    size_t i)
{
	size_t bits = sq_page_bits(grid);

	if (grid == SQ_PAGE_INT8)
		return scale * (float)(int8_t)row[i];
	if (grid == SQ_PAGE_E4M3)
		return scale * sq_e4m3_to_f32(row[i]);
	if (grid == SQ_PAGE_E5M2)
		return scale * sq_e5m2_to_f32(row[i]);
	return least + scale * (float)(row[i * bits / 8] >> i * bits % 8 &
	    ((1 << bits) - 1));
}

static void
plain_row(const struct side *s, const void *row, float *x)
{
	size_t i;

	for (i = 0; i < s->kv->dim; i++)
		x[i] = sq_value(row, s->kv->type, i);
}

/* What a page holds of a position. */
static void
page_row(const struct side *s, size_t head, size_t pos, float *x)
{
	const struct sq_kv *kv = s->kv;
	const char *p = sq_page_at(kv, s->how, s->page, head, pos);
	size_t token = pos % kv->page, i, at, last = SIZE_MAX;
	size_t scales = sq_page_scales(kv, s->how);
	const uint8_t *row = (const uint8_t *)p + token * sq_page_row(kv,
	    s->how);
	const uint16_t *scale = (const uint16_t *)(p + sq_page_scale_at(kv,
	    s->how));
	float f = 0, least = 0;

	if (s->how->grid == SQ_PAGE_PLAIN) {
		plain_row(s, row, x);
		return;
	}
	for (i = 0; i < kv->dim; i++) {
		at = sq_page_scale(kv, s->how, token, i);
		if (at != last) {
			f = sq_f16_to_f32(scale[at]);
			if (sq_page_grouped(s->how->grid))
				least = sq_f16_to_f32(scale[scales + at]);
			last = at;
		}
		x[i] = value_of_code(s->how->grid, f, least, row, i);
	}
}

int
sq_kv_read_ref(struct sq_ctx *c, const struct sq_kv *kv,
    const struct sq_seq *seq, size_t nseq, const struct sq_mat *k,
    const struct sq_mat *v)
{
	const struct sq_seq *s;
	struct side keys, values;
	size_t t, h;

	(void)c;
	if (!sq_append_allows(kv, seq, nseq, k, v))
		return SQ_UNSUP;
	for (s = seq; s < seq + nseq; s++) {
		keys = side_of(kv, s, 0);
		values = side_of(kv, s, 1);
		for (t = 0; t < s->n; t++)
			for (h = 0; h < kv->heads; h++) {
				page_row(&keys, h, s->pos + t,
				    sq_row(k, s->row + t) + h * kv->dim);
				page_row(&values, h, s->pos + t,
				    sq_row(v, s->row + t) + h * kv->dim);
			}
	}
	return 0;
}

/* What the token at position `by' sees at a position. */
static void
seen_row(const struct side *s, size_t head, size_t by, size_t pos, float *x)
{
	const struct sq_kv *kv = s->kv;

	if (pos < kv->sink)
		plain_row(s, sq_sink_at(kv, s->sink, head, pos), x);
	else if (by - pos < kv->window)
		plain_row(s, sq_near_at(kv, s->near, head, pos), x);
	else
		page_row(s, head, pos, x);
}

/* A query, and what it looks at. */
struct look {
	const struct sq_kv *kv;
	const struct sq_seq *seq;
	struct side k, v;
	size_t head;			/* of the cache */
	size_t start, end;		/* positions */
	const uint64_t *keep;		/* blocks of them; NULL: all */
	double scale;
	const float *q;
};

static int
looks(const struct look *l, size_t pos)
{
	return l->keep == NULL || sq_kept(l->keep, pos / SQ_KEEP_BLOCK);
}

static double
score(const struct look *l, size_t pos, float *row)
{
	double s = 0;
	size_t i;

	seen_row(&l->k, l->head, l->end - 1, pos, row);
	for (i = 0; i < l->kv->dim; i++)
		s += (double)l->q[i] * row[i];
	return s * l->scale;
}

/* y, with room for dim sums and a row. */
static void
look_at(const struct look *l, double *sums, float *y)
{
	const struct sq_kv *kv = l->kv;
	float *row = (float *)(sums + kv->dim);
	double p, s, max = -INFINITY, total = 0;
	size_t i, pos;

	for (i = 0; i < kv->dim; i++)
		sums[i] = 0;
	for (pos = l->start; pos < l->end; pos++)
		if (looks(l, pos) && (s = score(l, pos, row)) > max)
			max = s;
	for (pos = l->start; pos < l->end; pos++) {
		if (!looks(l, pos))
			continue;
		p = exp(score(l, pos, row) - max);
		total += p;
		seen_row(&l->v, l->head, l->end - 1, pos, row);
		for (i = 0; i < kv->dim; i++)
			sums[i] += p * (double)row[i];
	}
	for (i = 0; i < kv->dim; i++)
		y[i] = (float)(sums[i] / total);
}

static int
attend(struct sq_ctx *c, const struct sq_attn *a,
    const struct sq_attn_keep *keep, const struct sq_kv *kv,
    const struct sq_seq *seq, size_t nseq, const struct sq_mat *q,
    const struct sq_mat *y)
{
	struct look l = { .kv = kv, .scale = a->scale };
	size_t t, h;

	if (!sq_attention_allows(a, kv, seq, nseq, q, y) ||
	    kv->dim > c->work_size / (2 * sizeof(double)))
		return SQ_UNSUP;
	for (l.seq = seq; l.seq < seq + nseq; l.seq++) {
		l.k = side_of(kv, l.seq, 0);
		l.v = side_of(kv, l.seq, 1);
		for (t = 0; t < l.seq->n; t++)
			for (h = 0; h < a->heads; h++) {
				l.head = h / (a->heads / kv->heads);
				if (keep != NULL)
					l.keep = sq_keep_mask(keep, kv,
					    (size_t)(l.seq - seq), l.head);
				l.end = l.seq->pos + t + 1;
				l.start = sq_window_start(a, l.end - 1);
				l.q = sq_row(q, l.seq->row + t) + h * kv->dim;
				look_at(&l, c->work,
				    sq_row(y, l.seq->row + t) + h * kv->dim);
			}
	}
	return 0;
}

int
sq_attention_ref(struct sq_ctx *c, const struct sq_attn *a,
    const struct sq_kv *kv, const struct sq_seq *seq, size_t nseq,
    const struct sq_mat *q, const struct sq_mat *y)
{
	return attend(c, a, NULL, kv, seq, nseq, q, y);
}

int
sq_sparse_attention_ref(struct sq_ctx *c, const struct sq_attn *a,
    const struct sq_attn_keep *keep, const struct sq_kv *kv,
    const struct sq_seq *seq, size_t nseq, const struct sq_mat *q,
    const struct sq_mat *y)
{
	if (!sq_keep_allows(keep, kv, seq, nseq))
		return SQ_UNSUP;
	return attend(c, a, keep, kv, seq, nseq, q, y);
}
