/*
 * Blocks of GGUF's types; see fmt_gguf_blocks.h.
 *
 * A block is taken apart into codes, one a byte, and its scales; a row of the
 * parts is put together from these, and the other way round.  Where code j of
 * a block lies (h = j / 32 counts runs of 32):
 *
 *	4 bits, 32 weights	byte j mod 16, the upper half for j >= 16
 *	4 bits, 256 weights	byte 32 (h / 2) + j mod 32, the upper half for
 *				odd h; the fifth bit of Q5_K: bit h of
 *				qh[j mod 32]
 *	Q6_K			see q6_k_at()
 */
#include <string.h>
#include <strings.h>

#include "base/bits.h"
#include "formats/fmt_gguf_blocks.h"

#define MOST	256			/* weights of a block */

static const struct sq_gguf_kind kinds[] = {
	{ SQ_GGUF_F32, "F32", 1, 4, SQ_DENSE, SQ_F32, 0, 0 },
	{ SQ_GGUF_F16, "F16", 1, 2, SQ_DENSE, SQ_F16, 0, 1 },
	{ SQ_GGUF_BF16, "BF16", 1, 2, SQ_DENSE, SQ_BF16, 0, 32 },
	{ SQ_GGUF_Q8_0, "Q8_0", 32, 34, SQ_INT8, SQ_F16, 1, 7 },
	{ SQ_GGUF_Q4_0, "Q4_0", 32, 18, SQ_INT4, SQ_F16, 1, 2 },
	{ SQ_GGUF_Q4_1, "Q4_1", 32, 20, SQ_UINT4M, SQ_F16, 0, 3 },
	{ SQ_GGUF_Q5_0, "Q5_0", 32, 22, SQ_INT5, SQ_F16, 1, 8 },
	{ SQ_GGUF_Q5_1, "Q5_1", 32, 24, SQ_UINT5M, SQ_F16, 0, 9 },
	{ SQ_GGUF_Q4_K, "Q4_K", 256, 144, SQ_Q4_K, SQ_U8, 0, 14 },
	{ SQ_GGUF_Q5_K, "Q5_K", 256, 176, SQ_Q5_K, SQ_U8, 0, 16 },
	{ SQ_GGUF_Q6_K, "Q6_K", 256, 210, SQ_Q6_K, SQ_I8, 0, 18 },
	{ SQ_GGUF_IQ4_NL, "IQ4_NL", 32, 18, SQ_IQ4_NL, SQ_F16, 0, 25 },
	{ SQ_GGUF_IQ4_XS, "IQ4_XS", 256, 136, SQ_IQ4_XS, SQ_I8, 0, 30 },
	{ SQ_GGUF_MXFP4, "MXFP4", 32, 17, SQ_MXFP4, SQ_F8_E8M0, 0, 38 },
};

#define NKINDS	(sizeof(kinds) / sizeof(kinds[0]))

const struct sq_gguf_kind *
sq_gguf_kind(uint32_t type)
{
	size_t i;

	for (i = 0; i < NKINDS; i++)
		if ((uint32_t)kinds[i].type == type)
			return &kinds[i];
	return NULL;
}

const struct sq_gguf_kind *
sq_gguf_kind_find(const char *name)
{
	size_t i;

	for (i = 0; i < NKINDS; i++)
		if (strcasecmp(kinds[i].name, name) == 0)
			return &kinds[i];
	return NULL;
}

const char *
sq_gguf_kind_names(void)
{
	return "F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K, "
	    "Q6_K, IQ4_NL, IQ4_XS, MXFP4";
}

uint64_t
sq_gguf_row_bytes(const struct sq_gguf_kind *k, uint64_t cols)
{
	return cols % k->cols != 0 ? 0 : cols / k->cols * k->bytes;
}

void
sq_gguf_describe(const struct sq_gguf_kind *k, struct sq_tensor *t)
{
	t->grid = k->grid;
	t->symmetric = k->symmetric;
	t->group_rows = 1;
	t->group_cols = k->grid == SQ_Q6_K ? 16 : 32;
	if (k->grid == SQ_DENSE) {
		t->group_rows = t->group_cols = 0;
		t->type = k->dtype;
	}
	sq_tensor_layout(t, k->dtype, 0);
}

/* ---- one block ---- */

/* A block taken apart. */
struct block {
	uint8_t u[MOST];		/* codes of the grid */
	uint8_t d[2], m[2];		/* F16: scale or super, min or supermin */
	uint8_t scale[16], min[8];	/* of the parts of 32 or 16 weights */
};

static void
get_halves(const uint8_t *q, uint8_t *u, size_t half)
{
	size_t j;

	for (j = 0; j < half; j++) {
		u[j] = q[j] & 15;
		u[j + half] = q[j] >> 4;
	}
}

static void
put_halves(uint8_t *q, const uint8_t *u, size_t half)
{
	size_t j;

	for (j = 0; j < half; j++)
		q[j] = (uint8_t)((u[j] & 15) | u[j + half] << 4);
}

/* 256 codes of 4 bits, 64 at a time. */
static void
get_chunks(const uint8_t *q, uint8_t *u)
{
	int c;

	for (c = 0; c < 4; c++)
		get_halves(q + 32 * c, u + 64 * c, 32);
}

static void
put_chunks(uint8_t *q, const uint8_t *u)
{
	int c;

	for (c = 0; c < 4; c++)
		put_halves(q + 32 * c, u + 64 * c, 32);
}

/* The fifth bits of 32 codes, bit j of a little-endian number. */
static void
get_fifth(const uint8_t *h, uint8_t *u)
{
	int j;

	for (j = 0; j < 32; j++)
		u[j] |= (uint8_t)((h[j / 8] >> j % 8 & 1) << 4);
}

static void
put_fifth(uint8_t *h, const uint8_t *u)
{
	int j;

	memset(h, 0, 4);
	for (j = 0; j < 32; j++)
		h[j / 8] |= (uint8_t)((u[j] >> 4 & 1) << j % 8);
}

/* The twelve bytes with eight scales and eight offsets of 6 bits. */
static void
get_sixes(const uint8_t *s, struct block *b)
{
	int j;

	for (j = 0; j < 4; j++) {
		b->scale[j] = s[j] & 63;
		b->min[j] = s[j + 4] & 63;
		b->scale[j + 4] = (uint8_t)((s[j + 8] & 15) | s[j] >> 6 << 4);
		b->min[j + 4] = (uint8_t)(s[j + 8] >> 4 | s[j + 4] >> 6 << 4);
	}
}

static void
put_sixes(uint8_t *s, const struct block *b)
{
	int j;

	for (j = 0; j < 4; j++) {
		s[j] = (uint8_t)(b->scale[j] | b->scale[j + 4] >> 4 << 6);
		s[j + 4] = (uint8_t)(b->min[j] | b->min[j + 4] >> 4 << 6);
		s[j + 8] = (uint8_t)((b->scale[j + 4] & 15) |
		    b->min[j + 4] << 4);
	}
}

static void
get_q5_k_fifth(const uint8_t *h, uint8_t *u)
{
	int i;

	for (i = 0; i < 256; i++)
		u[i] |= (uint8_t)((h[i % 32] >> i / 32 & 1) << 4);
}

static void
put_q5_k_fifth(uint8_t *h, const uint8_t *u)
{
	int i;

	memset(h, 0, 32);
	for (i = 0; i < 256; i++)
		h[i % 32] |= (uint8_t)((u[i] >> 4 & 1) << i / 32);
}

/* Where code i of Q6_K lies: its low four bits at low of ql, its high two at
 * high of qh. */
struct q6_k_place {
	int ql, low, qh, high;
};

static struct q6_k_place
q6_k_at(int i)
{
	int half = i / 128, quarter = i % 128 / 32, l = i % 32;

	return (struct q6_k_place){ 64 * half + 32 * (quarter & 1) + l,
	    quarter < 2 ? 0 : 4, 32 * half + l, 2 * quarter };
}

static void
get_q6_k(const uint8_t *p, struct block *b)
{
	struct q6_k_place a;
	int i;

	for (i = 0; i < 256; i++) {
		a = q6_k_at(i);
		b->u[i] = (uint8_t)((p[a.ql] >> a.low & 15) |
		    (p[128 + a.qh] >> a.high & 3) << 4);
	}
	memcpy(b->scale, p + 192, 16);
	memcpy(b->d, p + 208, 2);
}

static void
put_q6_k(uint8_t *p, const struct block *b)
{
	struct q6_k_place a;
	int i;

	memset(p, 0, 192);
	for (i = 0; i < 256; i++) {
		a = q6_k_at(i);
		p[a.ql] |= (uint8_t)((b->u[i] & 15) << a.low);
		p[128 + a.qh] |= (uint8_t)((b->u[i] >> 4) << a.high);
	}
	memcpy(p + 192, b->scale, 16);
	memcpy(p + 208, b->d, 2);
}

/* Scales of 6 bits, 32 too great: the low four in sl, the high two in sh. */
static void
get_iq4_xs(const uint8_t *p, struct block *b)
{
	unsigned high = p[2] | (unsigned)p[3] << 8;
	int k;

	memcpy(b->d, p, 2);
	for (k = 0; k < 8; k++) {
		b->scale[k] = (uint8_t)(((p[4 + k / 2] >> 4 * (k & 1) & 15) |
		    (high >> 2 * k & 3) << 4) - 32);
		get_halves(p + 8 + 16 * k, b->u + 32 * k, 16);
	}
}

static void
put_iq4_xs(uint8_t *p, const struct block *b)
{
	unsigned high = 0, s;
	int k;

	memcpy(p, b->d, 2);
	memset(p + 4, 0, 4);
	for (k = 0; k < 8; k++) {
		s = (b->scale[k] + 32u) & 63;
		p[4 + k / 2] |= (uint8_t)((s & 15) << 4 * (k & 1));
		high |= (s >> 4) << 2 * k;
		put_halves(p + 8 + 16 * k, b->u + 32 * k, 16);
	}
	p[2] = (uint8_t)high;
	p[3] = (uint8_t)(high >> 8);
}

static void
block_get(const struct sq_gguf_kind *k, const uint8_t *p, struct block *b)
{
	int j;

	switch (k->type) {
	case SQ_GGUF_Q8_0:
		memcpy(b->d, p, 2);
		for (j = 0; j < 32; j++)
			b->u[j] = p[2 + j] ^ 0x80;
		break;
	case SQ_GGUF_Q4_0:
	case SQ_GGUF_IQ4_NL:
		memcpy(b->d, p, 2);
		get_halves(p + 2, b->u, 16);
		break;
	case SQ_GGUF_Q4_1:
		memcpy(b->d, p, 2);
		memcpy(b->m, p + 2, 2);
		get_halves(p + 4, b->u, 16);
		break;
	case SQ_GGUF_Q5_0:
		memcpy(b->d, p, 2);
		get_halves(p + 6, b->u, 16);
		get_fifth(p + 2, b->u);
		break;
	case SQ_GGUF_Q5_1:
		memcpy(b->d, p, 2);
		memcpy(b->m, p + 2, 2);
		get_halves(p + 8, b->u, 16);
		get_fifth(p + 4, b->u);
		break;
	case SQ_GGUF_MXFP4:
		b->scale[0] = p[0];
		get_halves(p + 1, b->u, 16);
		break;
	case SQ_GGUF_Q4_K:
	case SQ_GGUF_Q5_K:
		memcpy(b->d, p, 2);
		memcpy(b->m, p + 2, 2);
		get_sixes(p + 4, b);
		get_chunks(p + k->bytes - 128, b->u);
		if (k->type == SQ_GGUF_Q5_K)
			get_q5_k_fifth(p + 16, b->u);
		break;
	case SQ_GGUF_Q6_K:
		get_q6_k(p, b);
		break;
	default:
		get_iq4_xs(p, b);
		break;
	}
}

static void
block_put(const struct sq_gguf_kind *k, uint8_t *p, const struct block *b)
{
	int j;

	switch (k->type) {
	case SQ_GGUF_Q8_0:
		memcpy(p, b->d, 2);
		for (j = 0; j < 32; j++)
			p[2 + j] = b->u[j] ^ 0x80;
		break;
	case SQ_GGUF_Q4_0:
	case SQ_GGUF_IQ4_NL:
		memcpy(p, b->d, 2);
		put_halves(p + 2, b->u, 16);
		break;
	case SQ_GGUF_Q4_1:
		memcpy(p, b->d, 2);
		memcpy(p + 2, b->m, 2);
		put_halves(p + 4, b->u, 16);
		break;
	case SQ_GGUF_Q5_0:
		memcpy(p, b->d, 2);
		put_fifth(p + 2, b->u);
		put_halves(p + 6, b->u, 16);
		break;
	case SQ_GGUF_Q5_1:
		memcpy(p, b->d, 2);
		memcpy(p + 2, b->m, 2);
		put_fifth(p + 4, b->u);
		put_halves(p + 8, b->u, 16);
		break;
	case SQ_GGUF_MXFP4:
		p[0] = b->scale[0];
		put_halves(p + 1, b->u, 16);
		break;
	case SQ_GGUF_Q4_K:
	case SQ_GGUF_Q5_K:
		memcpy(p, b->d, 2);
		memcpy(p + 2, b->m, 2);
		put_sixes(p + 4, b);
		put_chunks(p + k->bytes - 128, b->u);
		if (k->type == SQ_GGUF_Q5_K)
			put_q5_k_fifth(p + 16, b->u);
		break;
	case SQ_GGUF_Q6_K:
		put_q6_k(p, b);
		break;
	default:
		put_iq4_xs(p, b);
		break;
	}
}

/* ---- a row ---- */

/* The pieces of a block after its codes, in the order of the parts: how many,
 * where they are in b and how long. */
static int
pieces(const struct sq_gguf_kind *k, struct block *b, uint8_t *piece[4],
    size_t size[4])
{
	int n = 0;

	if (sq_grid_is_super(k->grid)) {
		piece[n] = b->scale;
		size[n++] = k->grid == SQ_Q6_K ? 16 : 8;
		if (sq_grid_has_submins(k->grid)) {
			piece[n] = b->min;
			size[n++] = 8;
		}
	} else if (k->grid == SQ_MXFP4) {
		piece[n] = b->scale;
		size[n++] = 1;
		return n;
	}
	piece[n] = b->d;
	size[n++] = 2;
	if (k->grid == SQ_UINT4M || k->grid == SQ_UINT5M ||
	    sq_grid_has_submins(k->grid)) {
		piece[n] = b->m;
		size[n++] = 2;
	}
	return n;
}

static int
scales_ok(const struct sq_gguf_kind *k, const struct block *b)
{
	if (k->grid == SQ_MXFP4)
		return b->scale[0] != 255;
	return (b->d[1] & 0x7c) != 0x7c && (b->m[1] & 0x7c) != 0x7c;
}

int
sq_gguf_row_get(const struct sq_gguf_kind *k, const uint8_t *blocks,
    uint64_t cols, uint8_t *const part[SQ_PARTS])
{
	size_t i, j, n = (size_t)cols / k->cols, size[4];
	int bits = sq_grid_bits(k->grid), p, np;
	struct block b = { .m = { 0 } };
	uint8_t *piece[4];

	if (k->grid == SQ_DENSE) {
		memcpy(part[0], blocks, n * k->bytes);
		return 0;
	}
	np = pieces(k, &b, piece, size);
	memset(part[0], 0, sq_row_bytes((size_t)cols, bits));
	for (i = 0; i < n; i++) {
		block_get(k, blocks + i * k->bytes, &b);
		if (!scales_ok(k, &b))
			return -1;
		for (j = 0; j < k->cols; j++)
			sq_bits_put(part[0], i * k->cols + j, bits, b.u[j]);
		for (p = 0; p < np; p++)
			memcpy(part[1 + p] + i * size[p], piece[p], size[p]);
	}
	return 0;
}

void
sq_gguf_row_put(const struct sq_gguf_kind *k, uint8_t *blocks, uint64_t cols,
    const uint8_t *const part[SQ_PARTS])
{
	size_t i, j, n = (size_t)cols / k->cols, size[4];
	int bits = sq_grid_bits(k->grid), p, np;
	struct block b;
	uint8_t *piece[4];

	if (k->grid == SQ_DENSE) {
		memcpy(blocks, part[0], n * k->bytes);
		return;
	}
	np = pieces(k, &b, piece, size);
	for (i = 0; i < n; i++) {
		for (j = 0; j < k->cols; j++)
			b.u[j] = (uint8_t)sq_bits_get(part[0],
			    i * k->cols + j, bits);
		for (p = 0; p < np; p++)
			memcpy(piece[p], part[1 + p] + i * size[p], size[p]);
		block_put(k, blocks + i * k->bytes, &b);
	}
}
