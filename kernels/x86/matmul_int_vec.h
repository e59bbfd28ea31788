/*
 * The matrix product with 16-bit integers; see matmul.h and int_vec.h.  Two
 * columns share a lane of 32 bits, whose products are added at once:
 *
 *	panel   row r: (c0 c1) (c2 c3) ..	u - z; a pair is broadcast
 *	packed  (c0 c1) of VL tokens, (c2 c3) of VL tokens ..
 *
 * That is twice the rate of float32.  Tokens are rounded to 16 bits with a scale
 * for each block, or are bytes.
 *
 * Direct: 4 and 8 bits.  A load holds VB bytes of a row; words of 16 bits have
 * 4 or 2 codes, each in a plane of its own:
 *
 *	4 bits   word    0       1       2  ..
 *	plane 0  column  0       4       8	the word and 15
 *	plane 1          1       5       9	shifted by 4 ..
 *
 * so a lane of the sums has 8 columns that follow one another (8 bits: 4), and
 * with groups of 32 columns each lane is of one group.
 */
#include "kernels/x86/int_vec.h"
#include "kernels/x86/x86.h"

#if VL == 16
#define TR	8			/* rows of a tile */
#else
#define TR	4
#endif
#define TV	SQ_MM_VECTORS

#define STRIDE	(DEPTH + 32)		/* 64 bytes more: other cache sets */
#define PAIRS	(STRIDE / 2)

struct panel {
	size_t group;
	float scale[SQ_MM_PANEL][DEPTH / SQ_MM_UNIT];
	int16_t w[SQ_MM_PANEL][STRIDE];
};

#define x_head(p)	((const struct head *)(p))
#define x_body(p)	((const int16_t *)(x_head(p) + 1))
#define X_BYTES		(sizeof(struct head) + BLOCK * sizeof(int16_t))

/* The kinds of direct: bits and group. */
#define KINDS(X)							\
	X(4, 32) X(4, 64) X(4, 128) X(8, 32) X(8, 64) X(8, 128)
#define KIND(bits, group)	((bits) * 1000 + (int)(group))

static void
order(const struct sq_weight *w, int direct, struct sq_mm_order *o)
{
	int bits = sq_grid_bits(w->grid);

	o->group = group_of(w);
	o->kind = KIND(bits, o->group);
	o->unit = SQ_MM_UNIT;
	o->spread = 1;
	if (direct) {
		o->unit = VB * 8 / (size_t)bits;
		o->spread = 16 / (size_t)bits;
	}
}

/* u - z of n columns, up to a whole block. */
static void
widen(const uint8_t *u, const struct groups *g, size_t group, size_t n,
    int16_t *out)
{
	size_t i;
	VI z;

	for (i = 0; i < n; i += VB / 2) {
		z = vi_set1_16((short)g->zero[i / group]);
		vi_storeu(out + i, vi_add_16(vi_load_wide(u + i), z));
	}
}

static void
expand(const struct sq_mm_part *part, void *to)
{
	const struct sq_weight *w = part->w;
	size_t n = w->cols - part->col, blocks, row, r, bits, i;
	uint8_t u[DEPTH + SQ_CODES_BLOCK];
	struct panel *p = to;
	struct groups g;
	const uint8_t *from;

	n = n < part->cols ? n : part->cols;
	blocks = (n + BLOCK - 1) / BLOCK;
	bits = (size_t)sq_grid_bits(w->grid);
	p->group = part->order->group;
	memset(u, 0, sizeof(u));
	for (r = 0; r < part->rows; r++) {
		row = part->row + r * part->apart;
		from = (const uint8_t *)w->data + row *
		    sq_row_bytes(w->cols, (int)bits) + part->col * bits / 8;
		for (i = 0; i < n * bits / 8; i += 64)
			_mm_prefetch((const char *)from + part->ahead + i,
			    _MM_HINT_T0);
		load_groups(w, row, part->col, n, &g);
		sq_codes_unpack(from, n, (int)bits, u);
		memcpy(p->scale[r], g.scale, sizeof(p->scale[r]));
		widen(u, &g, p->group, blocks * BLOCK, p->w[r]);
	}
}

/* The codes of a token's block. */
SQ_INLINE void
to_16(const VF v[BLOCK / VL], VI codes[BLOCK / VL / 2])
{
	size_t i;

	for (i = 0; i < BLOCK / VL / 2; i++)
		codes[i] = vi_narrow(vi_from_f(v[2 * i]),
		    vi_from_f(v[2 * i + 1]));
}

static void
pack(const struct sq_mm_x *x, void *packed)
{
	VF u[VL][BLOCK / VL / 2], v[BLOCK / VL], all[VL];
	VI codes[BLOCK / VL / 2];
	char *out = packed;
	float *scale, *to;
	size_t c, i, t;

	for (c = 0; c < x->cols; c += BLOCK, out += VL * X_BYTES) {
		scale = (float *)out;
		to = (float *)(out + VL * sizeof(struct head));
		memset(u, 0, sizeof(u));
		for (t = 0; t < VL; t++) {
			scale[t] = 0;
			if (t >= x->rows)
				continue;
			x_block(x, t, c, v);
			scale[t] = x_codes(x, t, v);
			to_16(v, codes);
			memcpy(u[t], codes, sizeof(codes));
		}
		for (i = 0; i < BLOCK / VL / 2; i++) {
			for (t = 0; t < VL; t++)
				all[t] = u[t][i];
			vf_transpose(all);
			for (t = 0; t < VL; t++, to += VL)
				vf_store(to, all[t]);
		}
	}
}

/* Columns c .. end-1 of a block, one group: nr rows by nv vectors. */
SQ_INLINE void
tile_group(const int32_t *w, const char *x, size_t next, size_t c, size_t end,
    VI (*s)[TV], const int nr, const int nv)
{
	VI b, v[TV];
	int i, j, k;

	SQ_UNROLL for (i = 0; i < nr; i++)
		SQ_UNROLL for (j = 0; j < nv; j++)
			s[i][j] = vi_set1(0);
	x += VL * sizeof(struct head) + c / 2 * VL * 4;
	w += c / 2;
	for (; c < end; c += 4, x += 2 * VL * 4, w += 2)
		SQ_UNROLL for (k = 0; k < 2; k++) {
			SQ_UNROLL for (j = 0; j < nv; j++)
				v[j] = vi_loadu(x + (size_t)j * next +
				    k * VL * 4);
			SQ_UNROLL for (i = 0; i < nr; i++) {
				b = vi_set1(w[i * PAIRS + k]);
				SQ_UNROLL for (j = 0; j < nv; j++)
					vi_add_to(s[i][j], vi_madd(b, v[j]));
			}
		}
}

/* nr rows of the panel from row by nv vectors of tokens. */
SQ_INLINE void
tile_of(const struct panel *p, size_t row, const char *x, size_t cols,
    float *sums, const int nr, const int nv)
{
	const size_t next = cols / BLOCK * X_BYTES * VL;
	VI s[2 * TR][TV];
	size_t b, c, g = 0;
	float *to;
	VF f;
	int i, j;

	for (b = 0; b < cols; b += BLOCK, x += X_BYTES * VL)
		for (c = 0; c < BLOCK; c += p->group, g++) {
			tile_group((const int32_t *)(p->w[row] + b), x, next,
			    c, c + p->group, s, nr, nv);
			SQ_UNROLL for (j = 0; j < nv; j++)
				SQ_UNROLL for (i = 0; i < nr; i++) {
					to = sums + (j * SQ_MM_PANEL + i) * VL;
					f = vf_mul(vf_from_i(s[i][j]), vf_load(
					    (const float *)(x + (size_t)j *
					    next)));
					vf_store(to, vf_fma(vf_set1(
					    p->scale[row + (size_t)i][g]), f,
					    vf_load(to)));
				}
		}
}

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
		x += n * (cols / BLOCK) * X_BYTES * VL;
		sums += n * SQ_MM_PANEL * VL;
	}
}

/* Loads of a block, and of each sum. */
#define LOADS(bits)		(BLOCK * (bits) / 8 / VB)
#define LOAD_COLS(bits)		(VB * 8 / (bits))
#define SUM_LOADS(bits, group)						\
	((group) > LOAD_COLS(bits) ? (group) / LOAD_COLS(bits) : 1)

static void
arrange(const struct sq_mm_x *x, void *row)
{
	VI codes[BLOCK / VL / 2], sum, one = vi_set1_16(1);
	size_t c, i, planes = x->order->spread, per;
	char *out = row;
	struct head *h;
	VF v[BLOCK / VL];

	per = x->order->group > x->order->unit ?
	    x->order->group / x->order->unit : 1;
	per *= planes;
	for (c = 0; c < x->cols; c += BLOCK, out += X_BYTES) {
		h = (struct head *)out;
		x_block(x, 0, c, v);
		h->scale = x_codes(x, 0, v);
		to_16(v, codes);
		memcpy(h + 1, codes, sizeof(codes));
		sum = vi_set1(0);
		for (i = 0; i < BLOCK / VL / 2; i++) {
			sum = vi_add(sum, vi_madd(codes[i], one));
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
	if (k > 0)
		v = vi_shr_16(v, k * bits);
	if ((k + 1) * bits == 16)
		return v;
	return vi_and(v, vi_set1_16((short)((1 << bits) - 1)));
}

/* A block of one row and of nt tokens. */
SQ_INLINE void
do_block(const uint8_t *p, const char *x, size_t stride, const float *scale,
    const float *zero, VF *acc, const int bits, const int group, const int nt)
{
	const int loads = LOADS(bits), planes = 16 / bits;
	const int per = SUM_LOADS(bits, group);
	const int lanes = group < LOAD_COLS(bits) ? LOAD_COLS(bits) / group :
	    1;
	VI v, w, d, sum[TOKENS];
	VF f, s, z, part[TOKENS];
	int i, k, t;

	SQ_UNROLL for (i = 0; i < loads; i++) {
		v = vi_loadu(p + i * VB);
		SQ_UNROLL for (k = 0; k < planes; k++) {
			w = plane(v, bits, k);
			SQ_UNROLL for (t = 0; t < nt; t++) {
				d = vi_madd(w, vi_loadu(x_body(x +
				    (size_t)t * stride) + (i * planes + k) *
				    2 * VL));
				if (i % per == 0 && k == 0)
					sum[t] = d;
				else
					vi_add_to(sum[t], d);
			}
		}
		if ((i + 1) % per != 0)
			continue;
		s = of_lanes(scale + i / per * lanes, lanes);
		z = of_lanes(zero + i / per * lanes, lanes);
		SQ_UNROLL for (t = 0; t < nt; t++) {
			f = vf_fma(z, vf_load(x_head(x + (size_t)t *
			    stride)->sums[i / per]), vf_from_i(sum[t]));
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

const struct sq_mm_level LEVEL(mm_int) = {
	.lanes = VL, .size = sizeof(int16_t), .whole = BLOCK,
	.extra = sizeof(struct head), .depth = DEPTH, .few = 12, .block = 512,
	.in_order = 1, .order = order, .expand = expand, .pack = pack,
	.arrange = arrange, .tile = tile, .direct = direct, .finish = finish,
	.total = total
};
