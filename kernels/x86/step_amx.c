/* The product of few tokens: how the work is cut, and what is made of the
 * tokens; see step.h. */
#include <string.h>

#include "base/pool.h"
#include "kernels/quant.h"
#include "kernels/x86/bytes_vec.h"
#include "kernels/x86/sizes.h"
#include "kernels/x86/slices.h"
#include "kernels/x86/step.h"
#include "kernels/x86/step_amx.h"
#include "kernels/x86/step_many.h"
#include "kernels/x86/step_one.h"

#define LATER	256			/* bytes: scales that are fetched */
#define MASK(n)		((n) >= 64 ? ~0ull : (1ull << (n)) - 1)

/* Of each thread. */
struct scratch {
	struct scales scales;
	struct room room;
	_Alignas(64) uint8_t tail[ROWS][BLOCK];
	_Alignas(64) VF sums[];		/* of all tokens */
};

struct job {
	const struct sq_weight *w;
	const struct sq_mat *x, *y;
	const struct sq_qmat *q;	/* instead of x, or NULL */
	int bits, groups;		/* of a block; 1: it may be longer */
	size_t blocks, block_bytes, row_bytes;
	size_t run;			/* blocks of a group, if it is longer */
	size_t across;			/* groups of a row */
	size_t first, tokens, octets;	/* of this pass */
	char *packed, *scratch;
	size_t scratch_size;
	struct sq_slices slices;
};

/* ---- the tokens ---- */

struct bytes {
	VI hi[2], lo[2];		/* 64 columns each */
	int32_t hi_sum[SLOTS], lo_sum[SLOTS];
	float scale;
};

/* The sums of each 32 columns. */
static void
sum_bytes(struct bytes *to)
{
	const VI ones = vi_set1_8(1), none = vi_set1(0);
	int32_t s[16];
	VI v = sum_lanes(_mm512_dpbusd_epi32(none, ones, to->hi[0]),
	    _mm512_dpbusd_epi32(none, ones, to->hi[1]),
	    _mm512_dpbusd_epi32(none, ones, to->lo[0]),
	    _mm512_dpbusd_epi32(none, ones, to->lo[1]));
	int i;

	vi_storeu(s, vi_add(v, _mm512_shuffle_i32x4(v, v, 0xb1)));
	for (i = 0; i < SLOTS; i++) {
		to->hi_sum[i] = s[8 * (i & 1) + i / 2];
		to->lo_sum[i] = s[8 * (i & 1) + i / 2 + 2];
	}
}

/* The block at x, of n columns; the others are 0. */
static void
cut(const float *x, size_t n, struct bytes *to)
{
	int8_t hi[BLOCK], lo[BLOCK];
	int i;

	to->scale = sq_bytes_cut(x, n, hi, lo, BLOCK);
	for (i = 0; i < 2; i++) {
		to->hi[i] = vi_loadu(hi + i * VB);
		to->lo[i] = vi_loadu(lo + i * VB);
	}
	sum_bytes(to);
}

/* The block of codes at x likewise: they are lo. */
static void
take(const int8_t *x, size_t n, float scale, struct bytes *to)
{
	int i;

	for (i = 0; i < 2; i++, n -= least(n, VB)) {
		to->hi[i] = vi_set1(0);
		to->lo[i] = _mm512_maskz_loadu_epi8(MASK(n), x + i * VB);
	}
	to->scale = scale;
	sum_bytes(to);
}

/* Of each 32 columns those of even places first. */
SQ_INLINE VI
even_first(VI a)
{
	const __m128i by = _mm_set_epi8(15, 13, 11, 9, 7, 5, 3, 1, 14, 12, 10,
	    8, 6, 4, 2, 0);

	return _mm512_permutexvar_epi64(_mm512_set_epi64(7, 5, 6, 4, 3, 1, 2,
	    0), vi_shuffle(a, by));
}

static void
cut_token(const struct job *j, size_t token, size_t block, struct bytes *to)
{
	size_t col = block * BLOCK, i, per = SLOTS / (size_t)j->groups, k;
	size_t n = least(BLOCK, j->w->cols - col);

	token += j->first;
	if (j->q != NULL)
		take((const int8_t *)j->q->codes + token * j->q->stride + col,
		    n, j->q->scale[token], to);
	else
		cut((const float *)j->x->p + token * j->x->stride + col, n,
		    to);
	for (i = 0; j->bits == 4 && i < 2; i++) {
		to->hi[i] = even_first(to->hi[i]);
		to->lo[i] = even_first(to->lo[i]);
	}
	for (i = 0; i < SLOTS; i += per)
		for (k = 0; k < per; k++) {
			to->hi_sum[i / per] = (k > 0 ? to->hi_sum[i / per] :
			    0) + to->hi_sum[i + k];
			to->lo_sum[i / per] = (k > 0 ? to->lo_sum[i / per] :
			    0) + to->lo_sum[i + k];
		}
}

static void
pack_one(const struct job *j, size_t block, struct one *to)
{
	int32_t mid = 1 << (j->bits - 1);
	struct bytes b;
	int i;

	cut_token(j, 0, block, &b);
	if (j->bits == 4) {
		vi_storeu(to->hi[0], _mm512_shuffle_i64x2(b.hi[0], b.hi[1],
		    0x88));
		vi_storeu(to->hi[1], _mm512_shuffle_i64x2(b.hi[0], b.hi[1],
		    0xdd));
		vi_storeu(to->lo[0], _mm512_shuffle_i64x2(b.lo[0], b.lo[1],
		    0x88));
		vi_storeu(to->lo[1], _mm512_shuffle_i64x2(b.lo[0], b.lo[1],
		    0xdd));
	} else {
		memcpy(to->hi, b.hi, sizeof(to->hi));
		memcpy(to->lo, b.lo, sizeof(to->lo));
	}
	for (i = 0; i < j->groups; i++) {
		to->hi_start[i] = -mid * b.hi_sum[i];
		to->lo_start[i] = -mid * b.lo_sum[i];
		to->hi_sum[i] = (float)b.hi_sum[i];
		to->lo_sum[i] = (float)b.lo_sum[i];
	}
	to->hi_scale = 256 * b.scale;
	to->lo_scale = b.scale;
}

static void
pack_many(const struct job *j, size_t octet, size_t block, struct many *to)
{
	size_t tokens = least(TOKENS, j->tokens - octet * TOKENS), t;
	struct bytes b;
	VF all[2][VL];
	int i, k;

	memset(to, 0, sizeof(*to));
	memset(all, 0, sizeof(all));
	for (t = 0; t < tokens; t++) {
		cut_token(j, octet * TOKENS + t, block, &b);
		for (i = 0; i < 2; i++) {
			all[i][t] = (VF)b.hi[i];
			all[i][TOKENS + t] = (VF)b.lo[i];
		}
		for (i = 0; i < j->groups; i++) {
			to->sum[i][t] = (float)b.hi_sum[i];
			to->sum[i][TOKENS + t] = (float)b.lo_sum[i];
		}
		to->scale[t] = 256 * b.scale;
		to->scale[TOKENS + t] = b.scale;
	}
	for (i = 0; i < 2; i++) {
		vf_transpose(all[i]);
		for (k = 0; k < VL; k++)
			vi_storeu(to->codes[i][k], (VI)all[i][k]);
	}
}

static void
do_pack(void *arg, long task, int thread)
{
	const struct job *j = arg;
	size_t octet = (size_t)task / j->blocks;
	size_t block = (size_t)task % j->blocks;

	(void)thread;
	if (j->tokens == 1)
		pack_one(j, block, (struct one *)j->packed + block);
	else
		pack_many(j, octet, block, (struct many *)j->packed +
		    (size_t)task);
}

/* ---- the weight ---- */

/* 16 groups of each row to rows of `to'. */
SQ_INLINE void
turn(VF v[VL], float (*to)[ROWS])
{
	int i;

	vf_transpose(v);
	SQ_UNROLL for (i = 0; i < VL; i++)
		vf_store(to[i], v[i]);
}

/* Up to 16 groups of each row, from group `first' of it: rows that follow are
 * fetched. */
SQ_INLINE void
turn_scales(const struct sq_weight *w, const struct strip *s, size_t first,
    size_t n, const enum sq_dtype type, float (*to)[ROWS])
{
	const char *p = w->scales;
	size_t size = type == SQ_F32 ? 4 : 2, at;
	VF v[VL];
	int r;

	SQ_UNROLL for (r = 0; r < ROWS; r++) {
		at = s->group[r] + first;
		_mm_prefetch(p + at * size + LATER, _MM_HINT_T0);
		v[r] = vf_take(p, type, at, n);
	}
	turn(v, to);
}

static void
turn_zeros(const struct sq_weight *w, const struct strip *s, size_t first,
    size_t n, float (*to)[ROWS])
{
	float z[VL];
	VF v[VL];
	size_t i;
	int r;

	for (r = 0; r < ROWS; r++) {
		for (i = 0; i < VL; i++)
			z[i] = i < n ? -(float)w->zeros[s->group[r] + first +
			    i] : 0;
		v[r] = vf_load(z);
	}
	turn(v, to);
}

/* The scales of the groups first .. first+n-1 of a strip. */
static void
load_scales(const struct sq_weight *w, const struct strip *s, size_t first,
    size_t n, struct scales *to)
{
	size_t g;

	for (g = 0; g < n; g += VL) {
		if (w->scale_type == SQ_F16 && n - g >= VL)
			turn_scales(w, s, first + g, VL, SQ_F16, to->scale + g);
		else
			turn_scales(w, s, first + g, n - g, w->scale_type,
			    to->scale + g);
		if (w->zeros != NULL)
			turn_zeros(w, s, first + g, n - g, to->zero + g);
	}
}

/* ---- the products ---- */

#define KINDS(X)							\
	X(4, 1, 0) X(4, 2, 0) X(4, 4, 0) X(4, 1, 1) X(4, 2, 1) X(4, 4, 1) \
	X(8, 1, 0) X(8, 2, 0) X(8, 4, 0) X(8, 1, 1) X(8, 2, 1) X(8, 4, 1)
#define KIND(bits, groups, zeros)	((bits) * 100 + (groups) * 10 + (zeros))

#define BLOCKS(bits, groups, zeros)					\
static void								\
one_##bits##_##groups##_##zeros(const struct strip *s,			\
    const struct one *x, size_t n, VF *sums)				\
{									\
	one_blocks(s, x, n, sums, bits, groups, zeros);			\
}									\
static void								\
many_##bits##_##groups##_##zeros(const struct strip *s,		\
    const struct many *x, size_t n, struct room *room, VF *sums)	\
{									\
	many_blocks(s, x, n, room, sums, bits, groups, zeros);		\
}
KINDS(BLOCKS)

/* n blocks from `block' of the tokens by a strip. */
static void
do_blocks(const struct job *j, const struct strip *s, size_t block, size_t n,
    struct scratch *t)
{
	const struct many *x = (const struct many *)j->packed + block;
	size_t o;

	switch (KIND(j->bits, j->groups, j->w->zeros != NULL)) {
#define CASE(bits, groups, zeros)					\
	case KIND(bits, groups, zeros):					\
		if (j->tokens == 1)					\
			one_##bits##_##groups##_##zeros(s, (const struct one *)\
			    j->packed + block, n, t->sums);		\
		for (o = 0; j->tokens > 1 && o < j->octets; o++)	\
			many_##bits##_##groups##_##zeros(s, x + o * j->blocks, \
			    n, &t->room, t->sums + o * ROWS);		\
		break;
	KINDS(CASE)
#undef CASE
	}
}

/* The last columns, fewer than a block: from a copy. */
static void
do_tail(const struct job *j, struct strip *s, size_t block, struct scratch *t)
{
	size_t r, at = block * j->block_bytes;

	for (r = 0; r < ROWS; r++) {
		memset(t->tail[r], 0, BLOCK);
		memcpy(t->tail[r], s->row[r] + at, j->row_bytes - at);
		s->row[r] = t->tail[r];
	}
	s->at = s->ahead = 0;
	do_blocks(j, s, block, 1, t);
}

/* n blocks from `block' on. */
static void
do_chunk(const struct job *j, struct strip *s, size_t block, size_t n,
    struct scratch *t)
{
	size_t per = (size_t)j->groups, first, end;

	first = per > 1 ? block * per : block / j->run;
	end = per > 1 ? least((block + n) * per, j->across) :
	    (block + n - 1) / j->run + 1;
	load_scales(j->w, s, first, end - first, &t->scales);
	s->left = j->run - block % j->run;
	s->at = block * j->block_bytes;
	if ((block + n) * BLOCK <= j->w->cols)
		do_blocks(j, s, block, n, t);
	else
		do_tail(j, s, block, t);
}

static void
put(const struct job *j, const struct sq_slice *l, size_t row,
    const VF *sums)
{
	float *y = (float *)j->y->p + j->first * j->y->stride;
	size_t t, r, i;
	VF v[VL];

	memcpy(v, sums, 2 * sizeof(*v));
	for (t = 0; t < j->tokens; t++, y += j->y->stride) {
		if (t % TOKENS == 0 && j->tokens > 1) {
			memcpy(v, sums + t / TOKENS * ROWS, sizeof(v));
			vf_transpose(v);
		}
		i = t % TOKENS;
		v[i] = vf_add(v[i], v[j->tokens > 1 ? TOKENS + i : 1]);
		for (r = 0; r < ROWS && row + r * l->apart < l->end; r++)
			y[row + r * l->apart] = ((const float *)&v[i])[r];
	}
}

/* Of one token, scales are turned a few at a time, while memory is read. */
static void
do_strip(const struct job *j, const struct sq_slice *l, size_t strip,
    struct scratch *t)
{
	size_t whole = j->w->cols / BLOCK, b, n, r, i;
	struct strip s = { .scales = &t->scales, .run = j->run,
	    .ahead = AHEAD };

	for (r = 0; r < ROWS; r++) {
		i = sq_slice_line(l, strip, r);
		s.row[r] = (const uint8_t *)j->w->data + i * j->row_bytes;
		if (j->w->group_rows > 1)
			i /= j->w->group_rows;
		s.group[r] = i * j->across;
	}
	memset(t->sums, 0, (j->tokens == 1 ? 2 : j->octets * ROWS) *
	    sizeof(VF));
	n = j->tokens == 1 ? VL / (size_t)j->groups : CHUNK;
	for (b = 0; b < whole; b += n)
		do_chunk(j, &s, b, least(n, whole - b), t);
	if (whole < j->blocks)
		do_chunk(j, &s, whole, 1, t);
	put(j, l, l->first + strip, t->sums);
}

static void
do_slices(void *arg, long task, int thread)
{
	struct job *j = arg;
	struct scratch *t = (struct scratch *)(j->scratch + (size_t)thread *
	    j->scratch_size);
	const struct sq_slice *l;
	size_t done = 0, strip;

	if (j->tokens > 1)
		begin_tiles(j->groups);
	while ((l = sq_slices_take(&j->slices, (size_t)task, &done,
	    &strip)) != NULL)
		do_strip(j, l, strip, t);
	if (j->tokens > 1)
		_tile_release();
}

/* ---- all of it ---- */

static void
run_pass(struct job *j, struct sq_ctx *c)
{
	size_t threads = (size_t)sq_pool_threads(c->pool);

	sq_pool_run(c->pool, do_pack, j, (long)(j->octets * j->blocks));
	sq_slices_cut(&j->slices, j->w->rows, threads, ROWS);
	sq_pool_run(c->pool, do_slices, j, (long)j->slices.n);
}

int
sq_step_allows(const struct sq_weight *w)
{
	return (w->grid == SQ_INT4 || w->grid == SQ_INT8) && sq_mm_int_fits(w);
}

static int
run(struct sq_ctx *c, struct job *j)
{
	size_t threads = (size_t)sq_pool_threads(c->pool), octets, most;
	size_t rows = j->y->rows;
	const struct sq_weight *w = j->w;

	j->run = 1;
	if (rows == 0 || w->rows == 0)
		return 0;
	j->bits = sq_grid_bits(w->grid);
	j->groups = w->group_cols >= w->cols || w->group_cols >= BLOCK ? 1 :
	    BLOCK / (int)w->group_cols;
	j->blocks = up(w->cols, BLOCK);
	if (w->group_cols >= w->cols)
		j->run = j->blocks;
	else if (j->groups == 1)
		j->run = w->group_cols / BLOCK;
	j->across = sq_groups_across(w->cols, w->group_cols);
	j->row_bytes = sq_row_bytes(w->cols, j->bits);
	j->block_bytes = BLOCK * (size_t)j->bits / 8;
	octets = up(rows, TOKENS);
	j->scratch_size = up(sizeof(struct scratch) + octets * ROWS *
	    sizeof(VF), 4096) * 4096;
	if (threads * j->scratch_size > c->work_size / 2)
		return SQ_UNSUP;
	j->scratch = c->work;
	j->packed = j->scratch + threads * j->scratch_size;
	most = c->work_size / 2 / (j->blocks * sizeof(struct many));
	if (most == 0)
		return SQ_UNSUP;
	for (; j->first < rows; j->first += j->tokens) {
		j->tokens = least(rows - j->first, most * TOKENS);
		j->octets = up(j->tokens, TOKENS);
		run_pass(j, c);
	}
	return 0;
}

int
sq_step_matmul(struct sq_ctx *c, const struct sq_weight *w,
    const struct sq_mat *x, const struct sq_mat *y)
{
	struct job j = { .w = w, .x = x, .y = y };

	return run(c, &j);
}

int
sq_step_matmul_int8(struct sq_ctx *c, const struct sq_weight *w,
    const struct sq_qmat *q, const struct sq_mat *y)
{
	struct job j = { .w = w, .q = q, .y = y };

	return run(c, &j);
}
