/*
 * The matrix product with integers; see matmul.h and int_vec.h.  The file of a
 * level defines LEVEL(op), and BYTES.
 *
 * Two columns of 16 bits (BYTES: four of 8 bits) share a lane, whose products
 * are added at once:
 *
 *	panel   row r: (c0 c1) (c2 c3) ..	u - z (BYTES: u); broadcast
 *	packed  (c0 c1) of VL tokens, (c2 c3) of VL tokens ..
 *
 * That is twice (BYTES: up to four times) the rate of float32; with VNNI it is
 * four (BYTES: eight) times.  Tokens are rounded to 16 bits with a scale for each
 * block, or are bytes; BYTES: are bytes.
 * A product of bytes is exact in 16 bits for codes of up to 4 bits, and so is
 * the sum of RUN columns in a lane; VNNI has 32 bits at once.
 *
 * Direct: 4 and 8 bits.  A load holds VB bytes of a row; a word of 16 bits
 * (BYTES: a byte) has some codes, each in a plane of its own:
 *
 *	4 bits   word    0       1       2  ..
 *	plane 0  column  0       4       8	the word and 15
 *	plane 1          1       5       9	shifted by 4 ..
 *
 * so a lane of the sums has 4 or 8 columns that follow one another, and with
 * groups of 32 columns each lane is of one group.
 */
#include "kernels/x86/int_vec.h"
#include "kernels/x86/x86.h"

#if VL == 16 && !(BYTES && defined(__AVX512VNNI__))
#define TR	8			/* rows of a tile */
#else
#define TR	4
#endif
#define TV	SQ_MM_VECTORS

#if !BYTES
#define NAME	LEVEL(mm_int)
#define ELEM	int16_t
#define RUN	BLOCK			/* columns of a lane's sum, at most */
#define SCALED	NULL
#elif defined(__AVX512VNNI__)
#define NAME	LEVEL(mm_byte)
#define ELEM	uint8_t
#define RUN	BLOCK
#define VNNI
#define SCALED	NULL
#else
#define NAME	LEVEL(mm_byte)
#define ELEM	uint8_t
#define RUN	32
#define SCALED	finish_scaled
#define NARROW				/* weights of up to 4 bits */
#endif

#define STEP	(4 / sizeof(ELEM))	/* columns of a lane */
#define CODES	(BLOCK * sizeof(ELEM) / VB)	/* vectors of a block */
#define STRIDE	(DEPTH + 64 / sizeof(ELEM))	/* other cache sets */
#define WORDS	(STRIDE / STEP)

struct panel {
	size_t group;
	size_t run;			/* groups with one scale */
	int even;			/* all zero points are one */
	float scale[SQ_MM_PANEL][DEPTH / SQ_MM_UNIT];
	float zero[SQ_MM_PANEL][DEPTH / SQ_MM_UNIT];
	ELEM w[SQ_MM_PANEL][STRIDE];
};

#define x_head(p)	((const struct head *)(p))
#define x_body(p)	((const char *)(x_head(p) + 1))
#define X_BYTES		(sizeof(struct head) + BLOCK * sizeof(ELEM))
#define V_BYTES		(sizeof(struct heads) + VL * BLOCK * sizeof(ELEM))

/* Of weights and tokens: a first sum, another one added to it, and what its
 * lanes of 32 bits are. */
#if !BYTES && defined(__AVX512VNNI__)
#define dot_first(w, x)		_mm512_dpwssd_epi32(vi_set1(0), w, x)
#define dot_more(s, w, x)	vi_dpwssd_to(s, w, x)
#define dot_end(s)		(s)
#define ONES			vi_set1_16(1)
#elif !BYTES
#define dot_first(w, x)		vi_madd(w, x)
#define dot_more(s, w, x)	vi_add_to(s, vi_madd(w, x))
#define dot_end(s)		(s)
#define ONES			vi_set1_16(1)
#elif defined(NARROW)
#define dot_first(w, x)		vi_maddubs(w, x)
#define dot_more(s, w, x)	vi_add_16_to(s, vi_maddubs(w, x))
#define dot_end(s)		vi_madd(s, vi_set1_16(1))
#define ONES			vi_set1_8(1)
#else
#define dot_first(w, x)		_mm512_dpbusd_epi32(vi_set1(0), w, x)
#define dot_more(s, w, x)	vi_dpbusd_to(s, w, x)
#define dot_end(s)		(s)
#define ONES			vi_set1_8(1)
#endif

/* The kinds of direct: bits and group. */
#ifdef NARROW
#define KINDS(X)	X(4, 32) X(4, 64) X(4, 128)
#else
#define KINDS(X)							\
	X(4, 32) X(4, 64) X(4, 128) X(8, 32) X(8, 64) X(8, 128)
#endif
#define KIND(bits, group)	((bits) * 1000 + (int)(group))

static void
order(const struct sq_weight *w, int direct, struct sq_mm_order *o)
{
	int bits = sq_grid_bits(w->grid);

	o->group = group_of(w);
	o->kind = KIND(bits, o->group);
	o->unit = SQ_MM_UNIT;
	o->spread = 1;
	if (!direct && o->group > RUN)
		o->group = RUN;
	if (direct) {
		o->unit = VB * 8 / (size_t)bits;
		o->spread = 8 * sizeof(ELEM) / (size_t)bits;
	}
}

/* Scales and zero points of row r; a group of the weight has `per' sums. */
static void
put_groups(const struct groups *g, size_t per, struct panel *p, size_t r)
{
	size_t n = DEPTH / p->group, i;

	if (per == 1) {
		memcpy(p->scale[r], g->scale, sizeof(p->scale[r]));
		memcpy(p->zero[r], g->zero, sizeof(p->zero[r]));
		return;
	}
	for (i = 0; i < n; i++) {
		p->scale[r][i] = g->scale[i / per];
		p->zero[r][i] = g->zero[i / per];
	}
}

/* n codes of row r of the panel, up to a whole block. */
static void
put_row(const uint8_t *from, const struct groups *g, size_t n, int bits,
    struct panel *p, size_t r)
{
#if BYTES
	(void)g;
	sq_codes_unpack(from, n, bits, p->w[r]);
#else
	uint8_t u[DEPTH + SQ_CODES_BLOCK];
	size_t i;
	VI z;

	sq_codes_unpack(from, n, bits, u);
	for (i = 0; i < n; i += VB / 2) {
		z = vi_set1_16((short)g->zero[i / p->group]);
		vi_storeu(p->w[r] + i, vi_add_16(vi_load_wide(u + i), z));
	}
#endif
}

/* Groups that follow one another under one scale and one zero point. */
static size_t
run_of(const struct sq_weight *w, size_t group)
{
	size_t n = DEPTH / group;

	if (w->zeros != NULL)
		return 1;
	while (w->group_cols < w->cols && w->group_cols % (n * group) != 0)
		n /= 2;
	return n;
}

static void
expand(const struct sq_mm_part *part, void *to)
{
	const struct sq_weight *w = part->w;
	size_t n = w->cols - part->col, row, r, bits;
	struct panel *p = to;
	const uint8_t *from;
	struct groups g;

	n = n < part->cols ? n : part->cols;
	bits = (size_t)sq_grid_bits(w->grid);
	p->group = part->order->group;
	p->run = run_of(w, p->group);
	p->even = w->zeros == NULL;
	init_groups(w, &g);
	for (r = 0; r < part->rows; r++) {
		row = part->row + r * part->apart;
		from = codes_of(part, row, n, (int)bits);
		load_groups(w, row, part->col, n, &g);
		put_groups(&g, group_of(w) / p->group, p, r);
		put_row(from, &g, n, (int)bits, p, r);
	}
}

/* The codes of a token's block. */
SQ_INLINE void
to_codes(const VF v[BLOCK / VL], VI codes[CODES])
{
	VI a[BLOCK / VL / 2];
	size_t i;

	for (i = 0; i < BLOCK / VL / 2; i++)
		a[i] = vi_narrow(vi_from_f(v[2 * i]), vi_from_f(v[2 * i + 1]));
	for (i = 0; i < CODES; i++)
		codes[i] = BYTES ? vi_narrow_16(a[2 * i], a[2 * i + 1]) : a[i];
}

/* What the head of a vector of tokens is. */
struct heads {
	float scale[VL];
	float sums[SLOTS][VL];		/* BYTES */
};

/* A token's block as it is packed; its scale. */
SQ_INLINE float
block_codes(const struct sq_mm_x *x, size_t t, size_t c, VI codes[CODES])
{
#if BYTES
	size_t n = x->cols - c < BLOCK ? x->cols - c : BLOCK;

	if (n < BLOCK)
		memset(codes, 0, BLOCK);
	memcpy(codes, x->codes + t * x->stride + c, n);
	return x->scale[t];
#else
	VF v[BLOCK / VL];
	float scale;

	x_block(x, t, c, v);
	scale = x_codes(x, t, v);
	to_codes(v, codes);
	return scale;
#endif
}

static void
pack(const struct sq_mm_x *x, void *packed)
{
	VI u[VL][CODES], sum = vi_set1(0);
	size_t c, i, t, g, n = x->order->group / STEP;
	char *out = packed;
	struct heads *h;
	VF all[VL];
	float *to;

	memset(u, 0, sizeof(u));
	for (c = 0; c < x->cols; c += BLOCK, out += V_BYTES) {
		h = (struct heads *)out;
		to = (float *)(out + sizeof(struct heads));
		memset(h, 0, sizeof(*h));
		for (t = 0; t < x->rows; t++)
			h->scale[t] = block_codes(x, t, c, u[t]);
		for (i = g = 0; i < CODES; i++) {
			for (t = 0; t < VL; t++)
				all[t] = (VF)u[t][i];
			vf_transpose(all);
			for (t = 0; t < VL; t++, to += VL) {
				vf_store(to, all[t]);
				if (!BYTES)
					continue;
				sum = vi_add(sum, dot_end(dot_first(ONES,
				    (VI)all[t])));
				if ((i * VL + t + 1) % n != 0)
					continue;
				vf_store(h->sums[g++], vf_from_i(sum));
				sum = vi_set1(0);
			}
		}
	}
}

#ifdef VNNI
#include "kernels/x86/byte_vnni.h"
#else
#include "kernels/x86/int_tile.h"
#endif

SQ_INLINE void
tiles_of(const struct panel *p, const char *x, size_t rows, size_t cols,
    float *sums, const int nv)
{
	const size_t nr = nv == 1 ? 2 * TR : TR;
	size_t i;

	for (i = 0; i < rows; i += nr)
		tile_of(p, i, x, cols, sums + i * VL, (int)nr, nv);
}

static void
tile(const void *panel, const void *packed, size_t rows, size_t cols,
    size_t nvec, float *sums, int first)
{
	const char *x = packed;
	size_t v, n;

	if (first)
		memset(sums, 0, nvec * SQ_MM_PANEL * VL * sizeof(*sums));
	for (v = 0; v < nvec; v += n) {
		n = sq_mm_strip(nvec - v);
		if (n == 3)
			tiles_of(panel, x, rows, cols, sums, 3);
		else if (n == 2)
			tiles_of(panel, x, rows, cols, sums, 2);
		else
			tiles_of(panel, x, rows, cols, sums, 1);
		x += n * (cols / BLOCK) * V_BYTES;
		sums += n * SQ_MM_PANEL * VL;
	}
}

/* Loads of a block, columns of a load, and loads of a sum. */
#define LOADS(bits)		(BLOCK * (bits) / 8 / VB)
#define LOAD_COLS(bits)		(VB * 8 / (bits))
#define SUM_LOADS(bits, group)						\
	((group) > LOAD_COLS(bits) ? (group) / LOAD_COLS(bits) : 1)

static void
arrange(const struct sq_mm_x *x, void *row)
{
	size_t c, i, per;
	char *out = row;
	struct head *h;
	VF v[BLOCK / VL];
	VI codes[CODES], sum;

	per = x->order->group > x->order->unit ?
	    x->order->group / x->order->unit : 1;
	per *= x->order->spread;
	for (c = 0; c < x->cols; c += BLOCK, out += X_BYTES) {
		h = (struct head *)out;
		x_block(x, 0, c, v);
		h->scale = x_codes(x, 0, v);
		to_codes(v, codes);
		memcpy(h + 1, codes, sizeof(codes));
		sum = vi_set1(0);
		for (i = 0; i < CODES; i++) {
			sum = vi_add(sum, dot_end(dot_first(ONES, codes[i])));
			if ((i + 1) % per != 0)
				continue;
			vf_store(h->sums[i / per], vf_from_i(sum));
			sum = vi_set1(0);
		}
	}
}

/* Plane k of a load. */
SQ_INLINE VI
plane(VI v, const int bits, const int k)
{
	const int word = 8 * (int)sizeof(ELEM);

	if (bits == word)
		return v;
	if (k > 0)
		v = vi_shr_16(v, k * bits);
	if (word == 8)
		return vi_and(v, vi_set1_8((char)((1 << bits) - 1)));
	if ((k + 1) * bits == word)
		return v;
	return vi_and(v, vi_set1_16((short)((1 << bits) - 1)));
}

/* A block of one row and of nt tokens. */
SQ_INLINE void
do_block(const uint8_t *p, const char *x, size_t stride, const float *scale,
    const float *zero, VF *acc, const int bits, const int group, const int nt)
{
	const int loads = LOADS(bits), per = SUM_LOADS(bits, group);
	const int planes = 8 * (int)sizeof(ELEM) / bits;
	const int lanes = group < LOAD_COLS(bits) ? LOAD_COLS(bits) / group :
	    1;
	VI v, w, u, sum[TOKENS];
	VF f, s, z, part[TOKENS];
	int i, k, t;

	SQ_UNROLL for (i = 0; i < loads; i++) {
		v = vi_loadu(p + i * VB);
		SQ_UNROLL for (k = 0; k < planes; k++) {
			w = plane(v, bits, k);
			SQ_UNROLL for (t = 0; t < nt; t++) {
				u = vi_loadu(x_body(x + (size_t)t * stride) +
				    (i * planes + k) * VB);
				if (i % per == 0 && k == 0)
					sum[t] = dot_first(w, u);
				else
					dot_more(sum[t], w, u);
			}
		}
		if ((i + 1) % per != 0)
			continue;
		s = of_lanes(scale + i / per * lanes, lanes);
		z = of_lanes(zero + i / per * lanes, lanes);
		SQ_UNROLL for (t = 0; t < nt; t++) {
			f = vf_fma(z, vf_load(x_head(x + (size_t)t *
			    stride)->sums[i / per]), vf_from_i(dot_end(
			    sum[t])));
			part[t] = i < per ? vf_mul(s, f) :
			    vf_fma(s, f, part[t]);
		}
	}
	SQ_UNROLL for (t = 0; t < nt; t++)
		acc[t] = vf_fma(vf_set1(x_head(x + (size_t)t * stride)->scale),
		    part[t], acc[t]);
}

/* A row of a part and nt tokens. */
SQ_INLINE void
do_row(const uint8_t *p, size_t cols, ptrdiff_t ahead, const struct groups *g,
    const char *x, size_t stride, float *sums, int first, const int bits,
    const int group, const int nt)
{
	uint8_t copy[BLOCK];
	VF acc[TOKENS];
	size_t c, i, k = 0;
	int t;

	SQ_UNROLL for (t = 0; t < nt; t++)
		acc[t] = first ? vf_zero() :
		    vf_load(sums + t * SQ_MM_STRIP * VL);
	for (c = 0; c + BLOCK <= cols; c += BLOCK, k += BLOCK / group) {
		SQ_UNROLL for (i = 0; i < BLOCK * (size_t)bits / 8; i += 64)
			_mm_prefetch((const char *)p + ahead + i,
			    _MM_HINT_T0);
		do_block(p, x, stride, g->scale + k, g->zero + k, acc, bits,
		    group, nt);
		p += BLOCK * bits / 8;
		x += X_BYTES;
	}
	if (c < cols) {
		memset(copy, 0, sizeof(copy));
		memcpy(copy, p, ((cols - c) * bits + 7) / 8);
		do_block(copy, x, stride, g->scale + k, g->zero + k, acc,
		    bits, group, nt);
	}
	SQ_UNROLL for (t = 0; t < nt; t++)
		vf_store(sums + t * SQ_MM_STRIP * VL, acc[t]);
}

#define ROW(bits, group)						\
static void								\
row_##bits##_##group(const uint8_t *p, size_t cols, ptrdiff_t ahead,	\
    const struct groups *g, const char *x, size_t stride,		\
    size_t tokens, float *sums, int first)				\
{									\
	if (tokens == 4)						\
		do_row(p, cols, ahead, g, x, stride, sums, first,	\
		    bits, group, 4);					\
	if ((tokens & 2) != 0)						\
		do_row(p, cols, ahead, g, x, stride, sums, first,	\
		    bits, group, 2);					\
	x += (tokens & 2) * stride;					\
	sums += (tokens & 2) * SQ_MM_STRIP * VL;			\
	if ((tokens & 1) != 0)						\
		do_row(p, cols, ahead, g, x, stride, sums, first,	\
		    bits, group, 1);					\
}
KINDS(ROW)

static void
direct(const struct sq_mm_part *part, const void *x, size_t stride,
    size_t tokens, float *sums, int first)
{
	const struct sq_weight *w = part->w;
	size_t cols = w->cols - part->col, row, r;
	int bits = sq_grid_bits(w->grid);
	const uint8_t *p;
	struct groups g;

	cols = cols < part->cols ? cols : part->cols;
	init_groups(w, &g);
	for (r = 0; r < part->rows; r++, sums += VL) {
		row = part->row + r * part->apart;
		p = (const uint8_t *)w->data + row * sq_row_bytes(w->cols,
		    bits) + part->col * (size_t)bits / 8;
		load_groups(w, row, part->col, cols, &g);
		switch (part->order->kind) {
#define CASE(bits, group)						\
		case KIND(bits, group):					\
			row_##bits##_##group(p, cols, part->ahead, &g, x, \
			    stride, tokens, sums, first);		\
			break;
		KINDS(CASE)
#undef CASE
		}
	}
}

const struct sq_mm_level NAME = {
	.lanes = VL, .size = sizeof(ELEM), .whole = BLOCK,
	.extra = sizeof(struct head), .heads = sizeof(struct heads),
	.depth = DEPTH, .few = 12, .block = 512,
	.in_order = 1, .order = order, .expand = expand, .pack = pack,
	.arrange = arrange, .direct = direct, .finish = finish,
	.scaled = SCALED, .total = total, .tile = tile
};
