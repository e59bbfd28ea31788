/*
 * What the loops of attention take from memory, and in what form they
 * multiply it.  Without DP everything is float32 once it is loaded; with DP
 * (vdpbf16ps) keys and values stay bf16, queries and probabilities are
 * rounded to it, and a lane of 32 bits holds two factors.
 */
#define BLOCK	64			/* keys at a time */
#define HEADROOM	8		/* powers of 2; see the softmaxes */

#define SPARE	16

/* What codes become as they are loaded. */
#ifdef DP
#define CODED_TYPE	SQ_BF16
#else
#define CODED_TYPE	SQ_F32
#endif

/*
 * A coded cache is seen in three stretches, each of positions that follow one
 * another: the sink, the pages, and the near pages of the window.  A plain one
 * is all pages.  Which positions of a stretch a query sees depends on its own.
 */
enum stretch { SINK, PAGES, NEAR, STRETCHES };

static void
seen(const struct sq_attn_call *c, enum stretch s, size_t pos, size_t *start,
    size_t *end)
{
	const struct sq_kv *kv = c->kv;
	size_t near = pos + 1 > kv->window ? pos + 1 - kv->window : 0;

	*start = sq_window_start(c->a, pos);
	*end = pos + 1;
	if (s == NEAR && kv->window == 0) {
		*start = *end = 0;	/* whatever the position */
	} else if (s == SINK) {
		*end = *end < kv->sink ? *end : kv->sink;
	} else {
		*start = *start > kv->sink ? *start : kv->sink;
		if (s == PAGES)
			*end = near;
		else if (*start < near)
			*start = near;
	}
	if (*end < *start)
		*end = *start;
}

/* Up to BLOCK keys and values from position pos on; behind the last one
 * pointers repeat it, so that whole tiles can be loaded. */
struct block {
	size_t pos, n;
	enum stretch stretch;
	float *coded;			/* room for values that were codes */
	const char *k[BLOCK + SPARE], *v[BLOCK + SPARE];
};

/* The keys of a plain part from position pos to end. */
static void
block_plain(const struct sq_attn_call *c, const struct sq_attn_part *p,
    size_t pos, size_t end, size_t size, struct block *b)
{
	const struct sq_kv *kv = c->kv;
	size_t row = kv->dim * size, i = 0, run;
	const char *k, *v;

	for (; pos < end; pos += run) {
		k = sq_near_at(kv, p->seq->k, p->head, pos);
		v = sq_near_at(kv, p->seq->v, p->head, pos);
		run = kv->page - pos % kv->page;
		if (run > end - pos)
			run = end - pos;
		for (run += i; i < run; i++, k += row, v += row) {
			b->k[i] = k;
			b->v[i] = v;
		}
		run -= pos - b->pos;
	}
}

/* VL elements, as the loops take them. */
SQ_INLINE void
row_put(char *to, size_t i, VF x)
{
#ifdef DP
	_mm256_storeu_si256((void *)(to + 2 * i),
	    (__m256i)_mm512_cvtneps_pbh(x));
#else
	vf_store((float *)to + i, x);
#endif
}

/* One side of a coded cache at a position: where it lies as the loops take it,
 * which may be at `to'. */
static const char *
coded_row(const struct sq_attn_call *c, const struct sq_attn_part *p,
    enum stretch stretch, int values, size_t pos, char *to)
{
	const struct sq_kv *kv = c->kv;
	const struct sq_kv_side *s = values ? &kv->v : &kv->k;
	float line[SQ_ATTN_DIM];
	const char *from;
	size_t i;

	if (stretch == PAGES) {
		from = sq_page_at(kv, s, values ? p->seq->v : p->seq->k,
		    p->head, pos);
		if (s->grid != SQ_PAGE_PLAIN) {
			page_load(kv, s, from, pos % kv->page, line);
			for (i = 0; i < kv->dim; i += VL)
				row_put(to, i, vf_load(line + i));
			return to;
		}
		from += pos % kv->page * sq_page_row(kv, s);
	} else if (stretch == SINK) {
		from = sq_sink_at(kv, values ? p->seq->sink_v :
		    p->seq->sink_k, p->head, pos);
	} else {
		from = sq_near_at(kv, values ? p->seq->near_v :
		    p->seq->near_k, p->head, pos);
	}
	if (kv->type == CODED_TYPE)
		return from;
	plain_load(from, kv->type, kv->dim, line);
	for (i = 0; i < kv->dim; i += VL)
		row_put(to, i, vf_load(line + i));
	return to;
}

static void
block_coded(const struct sq_attn_call *c, const struct sq_attn_part *p,
    size_t pos, size_t end, struct block *b)
{
	size_t i, row = c->kv->dim * sq_dtype_size(CODED_TYPE);
	char *k = (char *)b->coded, *v = k + BLOCK * row;

	for (i = 0; pos < end; pos++, i++, k += row, v += row) {
		b->k[i] = coded_row(c, p, b->stretch, 0, pos, k);
		b->v[i] = coded_row(c, p, b->stretch, 1, pos, v);
	}
}

_Static_assert(BLOCK == SQ_KEEP_BLOCK, "masks are of blocks");

/* The first position from pos on, before last, whose block is kept. */
static size_t
kept_from(const struct sq_attn_call *c, const struct sq_attn_part *p,
    size_t pos, size_t last)
{
	const uint64_t *mask;

	if (c->keep == NULL)
		return pos;
	mask = sq_keep_mask(c->keep, c->kv, (size_t)(p->seq - c->seq),
	    p->head);
	while (pos < last && !sq_kept(mask, pos / BLOCK))
		pos = (pos / BLOCK + 1) * BLOCK;
	return pos;
}

/* The keys of a stretch of a part from position pos, or the first after it that
 * is kept, to the next multiple of BLOCK: b->stretch is set. */
static void
block_find(const struct sq_attn_call *c, const struct sq_attn_part *p,
    size_t pos, size_t size, struct block *b)
{
	size_t start, last, end, i;

	seen(c, b->stretch, sq_attn_pos(c, p, p->rows - 1), &start, &last);
	if (last > p->k1)
		last = p->k1;
	pos = kept_from(c, p, pos, last);
	end = (pos / BLOCK + 1) * BLOCK;
	if (end > last)
		end = last;
	b->pos = pos;
	b->n = pos < end ? end - pos : 0;
	if (b->n == 0)
		return;
	if (!sq_kv_plain(c->kv))
		block_coded(c, p, pos, end, b);
	else
		block_plain(c, p, pos, end, size, b);
	for (i = b->n; i < b->n + SPARE; i++) {
		b->k[i] = b->k[b->n - 1];
		b->v[i] = b->v[b->n - 1];
	}
}

/* The first block with keys of a part, from a position of a stretch on; n is 0
 * behind the end. */
static void
block_next(const struct sq_attn_call *c, const struct sq_attn_part *p,
    enum stretch stretch, size_t pos, size_t size, struct block *b)
{
	size_t start, end;

	for (; stretch < STRETCHES; stretch++, pos = 0) {
		seen(c, stretch, sq_attn_pos(c, p, 0), &start, &end);
		start = start < p->k0 ? p->k0 : start;
		b->stretch = stretch;
		block_find(c, p, pos < start ? start : pos, size, b);
		if (b->n > 0)
			return;
	}
	b->n = 0;
}

/* Four rows of keys or values. */
SQ_INLINE void
prefetch(const char *const *p, size_t bytes)
{
	size_t i, j;

	SQ_UNROLL for (j = 0; j < 4; j++)
		for (i = 0; i < bytes; i += 64)
			_mm_prefetch(p[j] + i, _MM_HINT_T1);
}

/* Where the sums of a row go, and by what factor. */
static float *
row_out(const struct sq_attn_call *c, const struct sq_attn_part *p, size_t r,
    float max, float total, float *scale)
{
	float *s;

	*scale = 1;
	if (p->sums == NULL) {
		*scale = 1 / total;
		return sq_attn_head(c, c->y, p, r);
	}
	s = p->sums + r * p->step;
	s[0] = max;
	s[1] = total;
	return s + SQ_ATTN_HEAD;
}

/* 2 VL elements, or the first VL of them and zeros. */
struct pair {
	VF a, b;
};

#ifdef DP

#define MIX_KEYS	2

SQ_INLINE VF
mac(VF a, VF b, VF c)
{
	__asm__("vdpbf16ps %2, %1, %0" : "+v"(c) : "v"(a), "v"(b));
	return c;
}

/* 2^x for -inf <= x < 127, within 8e-5, which is far below the step of bf16;
 * 2^-126 for what is less.  n, the whole part of x, is in the low bits of u. */
SQ_INLINE VF
prob_exp2(VF x)
{
	const VF shift = vf_set1(0x1.8p23f);
	VF t = vf_max(vf_set1(-126), x), u = vf_add(t, shift);
	VF f = vf_sub(t, vf_sub(u, shift)), p = vf_set1(0.0551716691f);

	p = vf_fma(p, f, vf_set1(0.242611122f));
	p = vf_fma(p, f, vf_set1(0.693260985f));
	p = vf_fma(p, f, vf_set1(0.999928074f));
	return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(p),
	    _mm512_slli_epi32(_mm512_castps_si512(u), 23)));
}

SQ_INLINE VF
load_32(const char *p)
{
	return _mm512_loadu_ps(p);
}

SQ_INLINE VF
load_16(const char *p)
{
	return _mm512_castsi512_ps(_mm512_zextsi256_si512(
	    _mm256_loadu_si256((const void *)p)));
}

SQ_INLINE struct pair
pair_load(const char *p, enum sq_dtype type, size_t i)
{
	(void)type;
	return (struct pair){ .a = load_32(p + 2 * i) };
}

SQ_INLINE struct pair
pair_load_half(const char *p, enum sq_dtype type, size_t i)
{
	(void)type;
	return (struct pair){ .a = load_16(p + 2 * i) };
}

SQ_INLINE VF
pair_dot(struct pair x, const float *q, size_t i, VF acc)
{
	return mac(x.a, load_32((const char *)q + 2 * i), acc);
}

static void
query_put(float *q, enum sq_dtype type, size_t i, float v)
{
	(void)type;
	((uint16_t *)q)[i] = sq_f32_to_bf16(v);
}

/* Two keys' values, element by element: of each eight, the first four in a,
 * the others in b. */
SQ_INLINE struct pair
weave(VF v, VF w)
{
	struct pair x;

	x.a = _mm512_castsi512_ps(_mm512_unpacklo_epi16(
	    _mm512_castps_si512(v), _mm512_castps_si512(w)));
	x.b = _mm512_castsi512_ps(_mm512_unpackhi_epi16(
	    _mm512_castps_si512(v), _mm512_castps_si512(w)));
	return x;
}

SQ_INLINE struct pair
mix_load(const char *const *v, enum sq_dtype type, size_t i)
{
	(void)type;
	return weave(load_32(v[0] + 2 * i), load_32(v[1] + 2 * i));
}

SQ_INLINE struct pair
mix_load_half(const char *const *v, enum sq_dtype type, size_t i)
{
	(void)type;
	return weave(load_16(v[0] + 2 * i), load_16(v[1] + 2 * i));
}

SQ_INLINE VF
mix_prob(const float *score, size_t j)
{
	return vf_set1(score[j / 2]);
}

/* Over the scores, which are longer: none is overwritten before its turn. */
SQ_INLINE void
few_put_prob(float *score, size_t j, VF p)
{
	_mm256_storeu_si256((void *)((uint16_t *)score + j),
	    (__m256i)_mm512_cvtneps_pbh(p));
}

/* VL elements of a query into 32-bit units. */
SQ_INLINE void
unit_put(float *line, size_t i, VF x)
{
	few_put_prob(line, i, x);
}

/* Probabilities of keys j and j + 1 over their scores, and of the last;
 * rounded to nearest by an addition, which is faster than conversion. */
SQ_INLINE void
prob_put(float *s, size_t j, size_t step, VF p, VF q)
{
	const __m512i half = _mm512_set1_epi32(0x8000);
	const __m512i high = _mm512_set1_epi32((int)0xffff0000);
	__m512i lo = _mm512_add_epi32(_mm512_castps_si512(p), half);
	__m512i hi = _mm512_add_epi32(_mm512_castps_si512(q), half);

	/* (hi & high) | lo >> 16 */
	_mm512_storeu_si512(s + j / 2 * step, _mm512_ternarylogic_epi32(hi,
	    high, _mm512_srli_epi32(lo, 16), 0xea));
}

SQ_INLINE void
prob_put_last(float *s, size_t j, size_t step, VF p)
{
	prob_put(s, j, step, p, vf_zero());
}

SQ_INLINE void
keys_load(float *to, const struct block *b, enum sq_dtype type, size_t dim)
{
	size_t i, j;

	(void)type;
	for (j = 0; j < (b->n + 15) / 16 * 16; j++, to += dim / 2)
		for (i = 0; i < dim; i += 16)
			_mm256_storeu_si256((void *)(to + i / 2),
			    _mm256_loadu_si256((const void *)(b->k[j] +
			    2 * i)));
}

/* 16 elements of two rows: units of one element of both. */
SQ_INLINE VF
pairs(const char *p, const char *q)
{
	__m512i lo = _mm512_cvtepu16_epi32(
	    _mm256_loadu_si256((const void *)p));
	__m512i hi = _mm512_cvtepu16_epi32(
	    _mm256_loadu_si256((const void *)q));

	return _mm512_castsi512_ps(_mm512_or_si512(lo,
	    _mm512_slli_epi32(hi, 16)));
}

#ifndef AMX
/* The values of two keys make the units of a row. */
SQ_INLINE void
values_load(float *to, const struct block *b, enum sq_dtype type, size_t dim)
{
	size_t i, j;

	(void)type;
	for (j = 0; j < b->n; j += 2, to += dim)
		for (i = 0; i < dim; i += 16)
			vf_store(to + i, pairs(b->v[j] + 2 * i,
			    b->v[j + 1] + 2 * i));
}
#endif

static size_t
place(enum sq_dtype type, size_t i)
{
	size_t lane = i % 32 / 8 * 4 + i % 4;

	(void)type;
	return i / 32 * 32 + (i % 8 < 4 ? 0 : 16) + lane;
}

#else

#define MIX_KEYS	1

#define mac(a, b, c)	vf_fma(a, b, c)
#define prob_exp2(x)	vf_exp2(x)

SQ_INLINE struct pair
pair_load(const char *p, enum sq_dtype type, size_t i)
{
	const float *f = (const float *)p + i;
	const uint16_t *h = (const uint16_t *)p + i;
	struct pair x;

	if (type == SQ_BF16) {
		vf_bf16_pair(h, &x.a, &x.b);
	} else if (type == SQ_F16) {
		x.a = vf_f16(h);
		x.b = vf_f16(h + VL);
	} else {
		x.a = vf_load(f);
		x.b = vf_load(f + VL);
	}
	return x;
}

/* Only vectors of 16 lanes leave half a group: dimensions are a multiple of
 * 16. */
SQ_INLINE struct pair
pair_load_half(const char *p, enum sq_dtype type, size_t i)
{
#if VL == 16
	const uint16_t *h = (const uint16_t *)p + i;
	struct pair x = { .b = vf_zero() };

	if (type == SQ_BF16)
		vf_bf16_pair_half(h, &x.a, &x.b);
	else if (type == SQ_F16)
		x.a = vf_f16(h);
	else
		x.a = vf_load((const float *)p + i);
	return x;
#else
	return pair_load(p, type, i);
#endif
}

SQ_INLINE VF
pair_dot(struct pair x, const float *q, size_t i, VF acc)
{
	acc = vf_fma(x.a, vf_load(q + i), acc);
	return vf_fma(x.b, vf_load(q + i + VL), acc);
}

SQ_INLINE struct pair
mix_load(const char *const *v, enum sq_dtype type, size_t i)
{
	return pair_load(v[0], type, i);
}

SQ_INLINE struct pair
mix_load_half(const char *const *v, enum sq_dtype type, size_t i)
{
	return pair_load_half(v[0], type, i);
}

SQ_INLINE VF
mix_prob(const float *score, size_t j)
{
	return vf_set1(score[j]);
}

SQ_INLINE void
few_put_prob(float *score, size_t j, VF p)
{
	vf_store(score + j, p);
}

SQ_INLINE void
unit_put(float *line, size_t i, VF x)
{
	vf_store(line + i, x);
}

SQ_INLINE void
prob_put(float *s, size_t j, size_t step, VF p, VF q)
{
	vf_store(s + j * step, p);
	vf_store(s + (j + 1) * step, q);
}

SQ_INLINE void
prob_put_last(float *s, size_t j, size_t step, VF p)
{
	vf_store(s + j * step, p);
}

SQ_INLINE void
keys_load(float *to, const struct block *b, enum sq_dtype type, size_t dim)
{
	size_t j;

	for (j = 0; j < (b->n + 7) / 8 * 8; j++)
		plain_load(b->k[j], type, dim, to + j * dim);
}

SQ_INLINE void
values_load(float *to, const struct block *b, enum sq_dtype type, size_t dim)
{
	size_t j;

	for (j = 0; j < b->n; j++)
		plain_load(b->v[j], type, dim, to + j * dim);
}

static size_t
place(enum sq_dtype type, size_t i)
{
	size_t group = i / (2 * VL) * (2 * VL);

	return type != SQ_BF16 ? i : group + i % 2 * VL + i % (2 * VL) / 2;
}

static void
query_put(float *q, enum sq_dtype type, size_t i, float v)
{
	q[place(type, i)] = v;
}

#endif
