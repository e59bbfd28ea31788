/* Rows of the stream as rows of GGUF blocks; see gguf_rows.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/half.h"
#include "model/gguf_rows.h"

/* The same parts, of the same types, in the same groups: rows are copied. */
static int
is_same(const struct sq_tensor *t, const struct sq_gguf_kind *k)
{
	struct sq_tensor want = *t;
	int i;

	sq_gguf_describe(k, &want);
	if (want.grid != t->grid || want.group_rows != t->group_rows ||
	    want.group_cols != t->group_cols ||
	    (sq_grid_is_int(t->grid) && !t->symmetric))
		return 0;
	for (i = 0; i < want.nparts; i++)
		if (i >= t->nparts || t->part[i].type != want.part[i].type)
			return 0;
	return 1;
}

/* Groups that are whole blocks of 32. */
static int
groups_fit(const struct sq_tensor *t)
{
	return t->group_cols % 32 == 0 || t->group_cols >= t->dim[1];
}

/* The type for integers: those of few bits fit into those of more. */
static int
int_type(const struct sq_tensor *t)
{
	int bits = sq_grid_bits(t->grid);

	if (t->symmetric)
		return bits <= 4 ? SQ_GGUF_Q4_0 : bits == 5 ? SQ_GGUF_Q5_0 :
		    SQ_GGUF_Q8_0;
	return bits <= 4 ? SQ_GGUF_Q4_1 : bits == 5 ? SQ_GGUF_Q5_1 : -1;
}

const struct sq_gguf_kind *
sq_gguf_holds(const struct sq_tensor *t)
{
	const struct sq_part *s = sq_tensor_part(t, "scales");
	const struct sq_gguf_kind *k;
	int type = -1;

	if (t->ndim != 2 || t->grid == SQ_DENSE || s == NULL ||
	    t->dim[1] % 32 != 0)
		return NULL;
	switch (t->grid) {
	case SQ_UINT4M: type = SQ_GGUF_Q4_1; break;
	case SQ_UINT5M: type = SQ_GGUF_Q5_1; break;
	case SQ_IQ4_NL: type = SQ_GGUF_IQ4_NL; break;
	case SQ_MXFP4: type = SQ_GGUF_MXFP4; break;
	case SQ_Q4_K: type = SQ_GGUF_Q4_K; break;
	case SQ_Q5_K: type = SQ_GGUF_Q5_K; break;
	case SQ_Q6_K: type = SQ_GGUF_Q6_K; break;
	case SQ_IQ4_XS: type = SQ_GGUF_IQ4_XS; break;
	default:
		if (sq_grid_is_int(t->grid))
			type = int_type(t);
	}
	if (type < 0 || (k = sq_gguf_kind((uint32_t)type)) == NULL)
		return NULL;
	if (is_same(t, k))
		return k;
	return (sq_grid_is_int(t->grid) || t->grid == SQ_UINT4M ||
	    t->grid == SQ_UINT5M || t->grid == SQ_IQ4_NL) &&
	    groups_fit(t) ? k : NULL;
}

int
sq_gguf_rows_init(struct sq_gguf_rows *r, const struct sq_tensor *t,
    const struct sq_gguf_kind *k, const void *payload, char *err)
{
	int i, bad;

	memset(r, 0, sizeof(*r));
	r->t = t;
	r->kind = k;
	r->payload = payload;
	r->row = *t;
	r->row.dim[0] = 1;
	sq_gguf_describe(k, &r->row);
	bad = 0;
	for (i = 0; i < r->row.nparts; i++) {
		r->part[i] = malloc((size_t)r->row.part[i].length);
		bad |= r->part[i] == NULL;
	}
	if (!bad)
		return 0;
	sq_gguf_rows_release(r);
	return sq_fail(err, "out of memory");
}

void
sq_gguf_rows_release(struct sq_gguf_rows *r)
{
	int i;

	for (i = 0; i < SQ_PARTS; i++)
		free(r->part[i]);
	memset(r, 0, sizeof(*r));
}

static const uint8_t *
part_at(const struct sq_gguf_rows *r, const char *name)
{
	const struct sq_part *p = sq_tensor_part(r->t, name);

	return p == NULL ? NULL : r->payload + p->offset;
}

static float
scale_at(const struct sq_gguf_rows *r, uint64_t g)
{
	const struct sq_part *p = sq_tensor_part(r->t, "scales");
	const uint8_t *at = r->payload + p->offset +
	    g * sq_dtype_size(p->type);
	uint16_t h;
	float f;

	if (p->type == SQ_F8_E8M0)
		return sq_e8m0_to_f32(*at);
	if (p->type == SQ_F32) {
		memcpy(&f, at, 4);
		return f;
	}
	memcpy(&h, at, 2);
	return p->type == SQ_F16 ? sq_f16_to_f32(h) : sq_bf16_to_f32(h);
}

static int
put_half(uint8_t *at, float v)
{
	uint16_t h = sq_f32_to_f16(v);

	memcpy(at, &h, 2);
	return (h & 0x7c00) == 0x7c00 ? -1 : 0;
}

/* Codes move so that their zero is where the type has it. */
static void
put_codes(struct sq_gguf_rows *r, uint64_t i)
{
	size_t n = (size_t)r->t->dim[1], j;
	int bits = sq_grid_bits(r->t->grid);
	int more = sq_grid_bits(r->kind->grid);
	const uint8_t *row = part_at(r, "codes") + i * sq_row_bytes(n, bits);
	unsigned move = 0;

	if (r->t->symmetric)
		move = (1u << (more - 1)) - (1u << (bits - 1));
	memset(r->part[0], 0, sq_row_bytes(n, more));
	for (j = 0; j < n; j++)
		sq_bits_put(r->part[0], j, more, sq_bits_get(row, j, bits) +
		    move);
}

/* A scale, and an offset where there is one, for every 32 columns. */
static int
put_scales(struct sq_gguf_rows *r, uint64_t i)
{
	const uint8_t *zeros = part_at(r, "zeros"), *mins = part_at(r, "mins");
	uint64_t first = i / r->t->group_rows * sq_tensor_group_cols(r->t), g;
	size_t b, n = (size_t)r->t->dim[1] / 32;
	float s;
	int bad = 0;

	for (b = 0; b < n; b++) {
		g = first + 32 * b / r->t->group_cols;
		s = scale_at(r, g);
		bad |= put_half(r->part[1] + 2 * b, s);
		if (zeros != NULL)
			bad |= put_half(r->part[2] + 2 * b,
			    -(float)zeros[g] * s);
		else if (mins != NULL)
			memcpy(r->part[2] + 2 * b, mins + 2 * g, 2);
	}
	return bad;
}

static void
copy_row(struct sq_gguf_rows *r, uint64_t i)
{
	uint64_t n;
	int p;

	for (p = 0; p < r->row.nparts; p++) {
		n = r->row.part[p].length;
		memcpy(r->part[p], r->payload + r->t->part[p].offset + i * n,
		    (size_t)n);
	}
}

int
sq_gguf_rows_put(struct sq_gguf_rows *r, uint64_t i, uint8_t *blocks,
    char *err)
{
	if (is_same(r->t, r->kind)) {
		copy_row(r, i);
	} else {
		put_codes(r, i);
		if (put_scales(r, i) != 0)
			return sq_fail(err, "tensor '%s': a scale is beyond "
			    "the range of F16", r->t->name);
	}
	sq_gguf_row_put(r->kind, blocks, r->t->dim[1],
	    (const uint8_t *const *)r->part);
	return 0;
}
