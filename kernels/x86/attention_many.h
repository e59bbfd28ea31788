/*
 * Attention of many rows: prefill.  Vectors lie along the rows, so that the
 * softmax needs no sum over lanes and keys need no transposition.  Up to
 * SQ_ATTN_ROWS rows in panels of nv <= 3 vectors, a block of keys at a time;
 * both products are the same loop (`tile_sum'), broadcast times vector:
 *
 *	score[key][row] = sum over i of key[key][i] * query[i][row]
 *	sum[i][row]    += sum over keys of value[key][i] * prob[key][row]
 *
 * Units are of 32 bits: one float32, or with DP a pair of bf16 (of elements in
 * the first product, of keys in the second).
 */
#define PANEL	3			/* vectors */
#if VL == 16
#define SIDE	8			/* accumulators: SIDE x PANEL vectors */
#else
#define SIDE	4
#endif
#define PANEL_ROWS	(PANEL * VL)
#define PANELS		(SQ_ATTN_ROWS / PANEL_ROWS)

#ifdef DP
#define PER_UNIT	2		/* elements of a 32-bit unit */
#else
#define PER_UNIT	1
#endif

/* Vectors first: they must not lie across cache lines. */
struct panel {
	float query[SQ_ATTN_DIM * PANEL_ROWS];
	float sum[SQ_ATTN_DIM * PANEL_ROWS];
	float max[PANEL_ROWS], total[PANEL_ROWS], fade[PANEL_ROWS];
	size_t row, nv;			/* first row; vectors */
	size_t first, last;		/* positions of its rows */
	int fades;			/* some fade is not 1 */
} __attribute__((aligned(64)));

struct many {
	float key[BLOCK * SQ_ATTN_DIM], value[BLOCK * SQ_ATTN_DIM];
	float score[BLOCK * PANEL_ROWS];
	float line[VL * SQ_ATTN_DIM];
	struct panel panel[PANELS];
	const struct sq_attn_call *call;
	const struct sq_attn_part *part;
	size_t panels;
	struct block block;
	float coded[2 * BLOCK * SQ_ATTN_DIM];
};

_Static_assert(sizeof(struct many) <= SQ_ATTN_SCRATCH, "scratch");
_Static_assert(SQ_ATTN_ROWS % PANEL_ROWS == 0, "panels");

/* Row `row' of the queries, scaled, in units; a row that is none is zero. */
static void
query_line(struct many *m, size_t row, float *line)
{
	size_t dim = m->call->kv->dim, i;
	const float *x;

	if (row >= m->part->rows) {
		memset(line, 0, dim / PER_UNIT * sizeof(*line));
		return;
	}
	x = sq_attn_head(m->call, m->call->q, m->part, row);
	for (i = 0; i < dim; i += VL)
		unit_put(line, i, vf_mul(vf_load(x + i),
		    vf_set1(m->call->scale)));
}

/* Vector v of a panel's queries: VL rows, transposed. */
static void
query_panel(struct many *m, struct panel *p, size_t v)
{
	size_t units = m->call->kv->dim / PER_UNIT, i, r;
	size_t step = (units + VL - 1) / VL * VL;
	VF x[VL];

	for (r = 0; r < VL; r++)
		query_line(m, p->row + v * VL + r, m->line + r * step);
	for (i = 0; i < units; i += VL) {
		SQ_UNROLL for (r = 0; r < VL; r++)
			x[r] = vf_load(m->line + r * step + i);
		vf_transpose(x);
		for (r = 0; r < VL && i + r < units; r++)
			vf_store(p->query + ((i + r) * p->nv + v) * VL, x[r]);
	}
}

static void
panel_init(struct many *m, struct panel *p, size_t row, size_t nv)
{
	size_t i, dim = m->call->kv->dim, last = row + nv * VL;

	p->row = row;
	p->nv = nv;
	if (last > m->part->rows)
		last = m->part->rows;
	p->first = sq_attn_pos(m->call, m->part, row);
	p->last = sq_attn_pos(m->call, m->part, last - 1);
	for (i = 0; i < nv; i++)
		query_panel(m, p, i);
	for (i = 0; i < nv * VL; i++) {
		p->max[i] = -FLT_MAX;
		p->total[i] = 0;
	}
	memset(p->sum, 0, dim * nv * VL * sizeof(*p->sum));
}

/* Rows into panels that are as even as vectors allow. */
static void
panels_init(struct many *m)
{
	size_t nv = (m->part->rows + VL - 1) / VL, row = 0, i, n;

	m->panels = (nv + PANEL - 1) / PANEL;
	for (i = 0; i < m->panels; i++, row += n * VL, nv -= n) {
		n = (nv + m->panels - i - 1) / (m->panels - i);
		panel_init(m, m->panel + i, row, n);
	}
}

#ifdef AMX
#include "kernels/x86/attention_tile.h"
#else

#define tiles_begin()	((void)0)
#define tiles_end()	((void)0)

/* acc[s][v] += sum over n units of a[s] (s by `side', then by `step') times
 * vector v of b. */
SQ_INLINE void
tile_sum(VF acc[SIDE][PANEL], const float *a, size_t side, size_t step,
    const float *b, size_t n, size_t nv)
{
	VF x[PANEL], y;
	size_t i, s, v;

	for (i = 0; i < n; i++, a += step, b += nv * VL) {
		SQ_UNROLL for (v = 0; v < nv; v++)
			x[v] = vf_load(b + v * VL);
		SQ_UNROLL for (s = 0; s < SIDE; s++) {
			y = vf_set1(a[s * side]);
			SQ_UNROLL for (v = 0; v < nv; v++)
				acc[s][v] = mac(y, x[v], acc[s][v]);
		}
	}
}

SQ_INLINE void
panel_score(struct many *m, const struct panel *p, size_t nv, size_t dim)
{
	VF acc[SIDE][PANEL];
	size_t j, s, v, units = dim / PER_UNIT;

	for (j = 0; j < m->block.n; j += SIDE) {
		SQ_UNROLL for (s = 0; s < SIDE; s++)
			SQ_UNROLL for (v = 0; v < nv; v++)
				acc[s][v] = vf_zero();
		tile_sum(acc, m->key + j * units, units, 1, p->query, units,
		    nv);
		SQ_UNROLL for (s = 0; s < SIDE; s++)
			SQ_UNROLL for (v = 0; v < nv; v++)
				vf_store(m->score + ((j + s) * nv + v) * VL,
				    acc[s][v]);
	}
}

SQ_INLINE void
panel_mix(struct many *m, struct panel *p, size_t nv, size_t dim)
{
	VF acc[SIDE][PANEL];
	size_t i, s, v, units = (m->block.n + PER_UNIT - 1) / PER_UNIT;
	float *sum;

	for (i = 0; i < dim; i += SIDE) {
		sum = p->sum + i * nv * VL;
		SQ_UNROLL for (s = 0; s < SIDE; s++)
			SQ_UNROLL for (v = 0; v < nv; v++)
				acc[s][v] = vf_mul(vf_load(p->fade + v * VL),
				    vf_load(sum + (s * nv + v) * VL));
		tile_sum(acc, m->value + i, 1, dim, m->score, units, nv);
		SQ_UNROLL for (s = 0; s < SIDE; s++)
			SQ_UNROLL for (v = 0; v < nv; v++)
				vf_store(sum + (s * nv + v) * VL, acc[s][v]);
	}
}

#endif

/* What of a block the rows of a vector see, relative to its first key. */
static void
panel_limits(const struct many *m, const struct panel *p, size_t v,
    int32_t *lo, int32_t *hi)
{
	const struct block *b = &m->block;
	size_t i, row, end, start;

	for (i = 0; i < VL; i++) {
		row = p->row + v * VL + i;
		if (row >= m->part->rows)
			row = m->part->rows - 1;
		seen(m->call, b->stretch, sq_attn_pos(m->call, m->part, row),
		    &start, &end);
		lo[i] = start <= b->pos ? 0 : start - b->pos > b->n ?
		    (int32_t)b->n : (int32_t)(start - b->pos);
		hi[i] = end <= b->pos ? 0 : end - b->pos > b->n ?
		    (int32_t)b->n : (int32_t)(end - b->pos);
	}
}

/* At the edges of what is seen: -inf elsewhere. */
static void
panel_mask(struct many *m, const struct panel *p)
{
	int32_t lo[VL], hi[VL];
	float *s;
	size_t j, v;

	for (v = 0; v < p->nv; v++) {
		panel_limits(m, p, v, lo, hi);
		for (j = 0; j < m->block.n; j++) {
			s = m->score + (j * p->nv + v) * VL;
			vf_store(s, vf_where_in(vf_load(s),
			    vf_set1(-INFINITY), (int)j, vi_load(lo),
			    vi_load(hi)));
		}
	}
}

/* The greatest of n vectors, lane by lane. */
SQ_INLINE VF
most(const float *s, size_t n, size_t step)
{
	VF m[4];
	size_t j;

	m[0] = m[1] = m[2] = m[3] = vf_load(s);
	for (j = 0; j + 4 <= n; j += 4, s += 4 * step) {
		m[0] = vf_max(m[0], vf_load(s));
		m[1] = vf_max(m[1], vf_load(s + step));
		m[2] = vf_max(m[2], vf_load(s + 2 * step));
		m[3] = vf_max(m[3], vf_load(s + 3 * step));
	}
	for (; j < n; j++, s += step)
		m[0] = vf_max(m[0], vf_load(s));
	return vf_max(vf_max(m[0], m[1]), vf_max(m[2], m[3]));
}

/* a where it is above b, else c. */
SQ_INLINE VF
where_gt(VF a, VF b, VF c)
{
#if VL == 16
	return _mm512_mask_mov_ps(c, _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ), a);
#else
	return _mm256_blendv_ps(c, a, _mm256_cmp_ps(a, b, _CMP_GT_OQ));
#endif
}

/*
 * Scores become probabilities relative to p->max, which need not be the
 * maximum: a row's is raised only when a score is HEADROOM above it, whatever
 * the other rows of the vector do.
 */
SQ_INLINE void
panel_softmax(struct many *m, struct panel *p, size_t v, size_t nv)
{
	VF old = vf_load(p->max + v * VL), max, total[2], fade, limit, e;
	float *s = m->score + v * VL;
	size_t j, n = m->block.n, step = nv * VL;

	max = vf_max(old, most(s, n, step));
	fade = vf_set1(1);
	limit = vf_add(old, vf_set1(HEADROOM));
	if (vf_any_gt(max, limit)) {
		max = where_gt(max, limit, old);
		fade = vf_exp2(vf_sub(old, max));
		vf_store(p->max + v * VL, max);
		p->fades = 1;
	} else {
		max = old;
	}
	total[0] = total[1] = vf_zero();
	for (j = 0; j + 2 <= n; j += 2) {
		e = prob_exp2(vf_sub(vf_load(s + j * step), max));
		total[0] = vf_add(total[0], e);
		old = prob_exp2(vf_sub(vf_load(s + (j + 1) * step), max));
		total[1] = vf_add(total[1], old);
		prob_put(s, j, step, e, old);
	}
	if (j < n) {
		e = prob_exp2(vf_sub(vf_load(s + j * step), max));
		total[0] = vf_add(total[0], e);
		prob_put_last(s, j, step, e);
	}
	vf_store(p->fade + v * VL, fade);
	vf_store(p->total + v * VL, vf_fma(vf_load(p->total + v * VL), fade,
	    vf_add(total[0], total[1])));
}

SQ_INLINE void
panel_block(struct many *m, struct panel *p, size_t nv, size_t dim)
{
	const struct block *b = &m->block;
	size_t v, start, end, late, early;

	/* what some row sees, and what all of them do */
	seen(m->call, b->stretch, p->first, &start, &early);
	seen(m->call, b->stretch, p->last, &late, &end);
	if (b->pos >= end || b->pos + b->n <= start)
		return;
	p->fades = 0;
	panel_score(m, p, nv, dim);
	if (b->pos + b->n > early || b->pos < late)
		panel_mask(m, p);
	for (v = 0; v < nv; v++)
		panel_softmax(m, p, v, nv);
	panel_mix(m, p, nv, dim);
}

/* Vector v of a panel: the sums of VL rows, transposed. */
static void
panel_finish(struct many *m, const struct panel *p, size_t v)
{
	size_t r, i, row = p->row + v * VL, n = m->part->rows - row;
	float *to[VL], scale[VL];
	VF x[VL];

	for (r = 0; r < VL && r < n; r++)
		to[r] = row_out(m->call, m->part, row + r,
		    p->max[v * VL + r], p->total[v * VL + r], scale + r);
	for (i = 0; i < m->call->kv->dim; i += VL) {
		SQ_UNROLL for (r = 0; r < VL; r++)
			x[r] = vf_load(p->sum + ((i + r) * p->nv + v) * VL);
		vf_transpose(x);
		for (r = 0; r < VL && r < n; r++)
			vf_store(to[r] + i, vf_mul(x[r], vf_set1(scale[r])));
	}
}

SQ_INLINE void
many_rows(struct many *m, enum sq_dtype type, size_t dim)
{
	const struct sq_attn_part *p = m->part;
	struct block *b = &m->block;
	size_t size = sq_dtype_size(type), i, v;

	tiles_begin();
	panels_init(m);
	b->coded = m->coded;
	for (block_next(m->call, p, SINK, 0, size, b); b->n > 0;
	    block_next(m->call, p, b->stretch, b->pos + b->n, size, b)) {
		keys_load(m->key, &m->block, type, dim);
		values_load(m->value, &m->block, type, dim);
		for (i = 0; i < m->panels; i++)
			switch (m->panel[i].nv) {
			case 1: panel_block(m, m->panel + i, 1, dim); break;
			case 2: panel_block(m, m->panel + i, 2, dim); break;
			default: panel_block(m, m->panel + i, 3, dim); break;
			}
	}
	for (i = 0; i < m->panels; i++)
		for (v = 0; v < m->panel[i].nv; v++)
			panel_finish(m, m->panel + i, v);
	tiles_end();
}
