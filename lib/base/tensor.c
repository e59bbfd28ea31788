/* Shapes, parts and their rules; see tensor.h. */
#include <stdio.h>
#include <string.h>

#include "base/mask.h"
#include "base/tensor.h"

#define MAX_DIM		((uint64_t)1 << 32)
#define MAX_COUNT	((uint64_t)1 << 44)
#define ALIGN		64

static int
name_ok(const char *s, const char *punctuation)
{
	size_t i, n = strlen(s);

	if (n == 0 || n >= SQ_NAME || s[0] == '.' || s[0] == '-')
		return 0;
	for (i = 0; i < n; i++)
		if (!(s[i] >= 'a' && s[i] <= 'z') &&
		    !(s[i] >= 'A' && s[i] <= 'Z') &&
		    !(s[i] >= '0' && s[i] <= '9') &&
		    strchr(punctuation, s[i]) == NULL)
			return 0;
	return 1;
}

int
sq_name_ok(const char *s)
{
	return name_ok(s, "_.:@+-");
}

int
sq_blob_name_ok(const char *s)
{
	return name_ok(s, "._-");
}

uint64_t
sq_tensor_count(const struct sq_tensor *t)
{
	uint64_t n = 1;
	int i;

	for (i = 0; i < t->ndim; i++)
		n *= t->dim[i];
	return n;
}

uint64_t
sq_tensor_cols(const struct sq_tensor *t)
{
	return t->dim[t->ndim - 1];
}

uint64_t
sq_tensor_rows(const struct sq_tensor *t)
{
	return sq_tensor_count(t) / sq_tensor_cols(t);
}

static uint64_t
div_up(uint64_t a, uint64_t b)
{
	return (a + b - 1) / b;
}

uint64_t
sq_tensor_group_rows(const struct sq_tensor *t)
{
	return div_up(sq_tensor_rows(t), t->group_rows);
}

uint64_t
sq_tensor_group_cols(const struct sq_tensor *t)
{
	return div_up(sq_tensor_cols(t), t->group_cols);
}

const struct sq_part *
sq_tensor_part(const struct sq_tensor *t, const char *name)
{
	int i;

	for (i = 0; i < t->nparts; i++)
		if (strcmp(t->part[i].name, name) == 0)
			return &t->part[i];
	return NULL;
}

static void
add_part(struct sq_tensor *t, const char *name, enum sq_dtype type,
    uint64_t length)
{
	struct sq_part *p = &t->part[t->nparts++];

	snprintf(p->name, sizeof(p->name), "%s", name);
	p->type = type;
	p->offset = div_up(t->length, ALIGN) * ALIGN;
	p->length = length;
	t->length = p->offset + length;
}

static void
layout_super(struct sq_tensor *t, uint64_t groups)
{
	uint64_t supers = sq_tensor_rows(t) * div_up(sq_tensor_cols(t), 256);
	int with_mins = sq_grid_has_submins(t->grid);

	add_part(t, "scales", with_mins ? SQ_U8 : SQ_I8, groups);
	if (with_mins)
		add_part(t, "submins", SQ_U8, groups);
	add_part(t, "super", SQ_F16, supers * 2);
	if (with_mins)
		add_part(t, "supermins", SQ_F16, supers * 2);
}

static void
layout_quantized(struct sq_tensor *t, enum sq_dtype scale_type)
{
	uint64_t groups = sq_tensor_group_rows(t) * sq_tensor_group_cols(t);

	add_part(t, "codes", SQ_BITS, sq_tensor_rows(t) *
	    sq_row_bytes(sq_tensor_cols(t), sq_grid_bits(t->grid)));
	if (sq_grid_is_super(t->grid)) {
		layout_super(t, groups);
		return;
	}
	add_part(t, "scales", scale_type, groups * sq_dtype_size(scale_type));
	if (sq_grid_is_int(t->grid) && !t->symmetric)
		add_part(t, "zeros", SQ_U8, groups);
	if (t->grid == SQ_UINT4M || t->grid == SQ_UINT5M)
		add_part(t, "mins", SQ_F16, groups * 2);
}

void
sq_tensor_layout(struct sq_tensor *t, enum sq_dtype scale_type, int with_mask)
{
	t->nparts = 0;
	t->length = 0;
	if (t->grid == SQ_DENSE)
		add_part(t, "data", t->type,
		    sq_tensor_count(t) * sq_dtype_size(t->type));
	else
		layout_quantized(t, scale_type);
	if (with_mask)
		add_part(t, "mask", SQ_BITS, sq_tensor_rows(t) *
		    sq_row_bytes(sq_tensor_cols(t), 1));
}

static int
check_shape(const struct sq_tensor *t, char *err)
{
	uint64_t n = 1;
	int i;

	if (t->ndim < 1 || t->ndim > SQ_NDIM)
		return sq_fail(err, "'%s': %d dimensions", t->name, t->ndim);
	for (i = 0; i < t->ndim; i++) {
		if (t->dim[i] < 1 || t->dim[i] > MAX_DIM ||
		    t->dim[i] > MAX_COUNT / n)
			return sq_fail(err, "'%s': a shape out of bounds",
			    t->name);
		n *= t->dim[i];
	}
	return 0;
}

static int
check_groups(const struct sq_tensor *t, char *err)
{
	if (t->ndim != 2)
		return sq_fail(err, "'%s': quantized, but not a matrix",
		    t->name);
	if (t->group_rows < 1 || t->group_rows > t->dim[0] ||
	    t->group_cols < 1 || t->group_cols > t->dim[1])
		return sq_fail(err, "'%s': groups that do not fit its shape",
		    t->name);
	return 0;
}

/* Parts in ascending order, each at the next multiple of 64. */
static int
check_parts(const struct sq_tensor *t, char *err)
{
	const struct sq_part *p;
	uint64_t end = 0;
	int i;

	for (i = 0; i < t->nparts; i++) {
		p = &t->part[i];
		if (!name_ok(p->name, "_") || sq_tensor_part(t, p->name) != p)
			return sq_fail(err, "'%s': '%s' is not a name for a "
			    "part, or there twice", t->name, p->name);
		if (p->offset != div_up(end, ALIGN) * ALIGN ||
		    p->length > (uint64_t)1 << 48)
			return sq_fail(err, "'%s': part '%s' out of place",
			    t->name, p->name);
		end = p->offset + p->length;
	}
	if (end != t->length)
		return sq_fail(err, "'%s': parts of %ju bytes in a payload of "
		    "%ju", t->name, (uintmax_t)end, (uintmax_t)t->length);
	return 0;
}

/* What sq-stream(5) says of the groups of one grid. */
static int
grid_groups_ok(const struct sq_tensor *t)
{
	uint64_t r = t->group_rows, c = t->group_cols;

	switch (t->grid) {
	case SQ_MXFP4:
	case SQ_IQ4_NL:
		return r == 1 && c == 32;
	case SQ_Q4_K:
	case SQ_Q5_K:
	case SQ_IQ4_XS:
		return r == 1 && c == 32 && t->dim[1] % 256 == 0;
	case SQ_Q6_K:
		return r == 1 && c == 16 && t->dim[1] % 256 == 0;
	default:
		return 1;
	}
}

static int
scale_type_ok(const struct sq_tensor *t, enum sq_dtype type)
{
	if (sq_grid_is_super(t->grid))	/* their layout says it */
		return 1;
	if (t->grid == SQ_MXFP4)
		return type == SQ_F8_E8M0;
	return sq_dtype_is_float(type) || type == SQ_F8_E8M0;
}

static int
check_grid(const struct sq_tensor *t, const struct sq_part *scales, char *err)
{
	if (t->grid == SQ_DENSE)
		return t->type == SQ_BITS ? sq_fail(err, "'%s': a type that "
		    "is for parts alone", t->name) : 0;
	if (check_groups(t, err) < 0)
		return -1;
	if (!grid_groups_ok(t))
		return sq_fail(err, "'%s': groups that grid '%s' does not "
		    "have", t->name, sq_grid_name(t->grid));
	if (!sq_dtype_is_float(t->type))
		return sq_fail(err, "'%s': quantized from '%s'", t->name,
		    sq_dtype_name(t->type));
	if (scales == NULL || !scale_type_ok(t, scales->type))
		return sq_fail(err, "'%s': no scales, or of a wrong type",
		    t->name);
	return 0;
}

int
sq_tensor_check(const struct sq_tensor *t, char *err)
{
	const struct sq_part *s = sq_tensor_part(t, "scales");
	struct sq_tensor want = *t;
	int i;

	if (!sq_name_ok(t->name))
		return sq_fail(err, "'%s': not a name for a tensor", t->name);
	if (check_shape(t, err) < 0 || check_parts(t, err) < 0)
		return -1;
	if (t->grid == SQ_GRIDS)	/* nothing more is known of it */
		return 0;
	if (t->sparse.kind != SQ_MASK_NONE &&
	    sq_tensor_part(t, "mask") == NULL)
		return sq_fail(err, "'%s': sparse, but without a mask",
		    t->name);
	if (check_grid(t, s, err) < 0)
		return -1;
	sq_tensor_layout(&want, s == NULL ? SQ_F16 : s->type,
	    sq_tensor_part(t, "mask") != NULL);
	if (want.nparts != t->nparts || want.length != t->length)
		return sq_fail(err, "'%s': parts that do not fit its shape",
		    t->name);
	for (i = 0; i < t->nparts; i++)
		if (strcmp(want.part[i].name, t->part[i].name) != 0 ||
		    want.part[i].type != t->part[i].type ||
		    want.part[i].offset != t->part[i].offset ||
		    want.part[i].length != t->part[i].length)
			return sq_fail(err, "'%s': part '%s' does not fit its "
			    "shape", t->name, t->part[i].name);
	return 0;
}

/* The first byte that is not zero of [at, end), or end. */
static uint64_t
not_zero(const unsigned char *p, uint64_t at, uint64_t end)
{
	while (at < end && p[at] == 0)
		at++;
	return at;
}

/* The bits after the last code of each row. */
static int
row_ends_zero(const struct sq_tensor *t, const unsigned char *p, int bits)
{
	uint64_t cols = sq_tensor_cols(t), rows = sq_tensor_rows(t), i;
	size_t n = sq_row_bytes(cols, bits);
	unsigned used = (unsigned)(cols * (unsigned)bits % 8);

	for (i = 0; used != 0 && i < rows; i++)
		if (p[i * n + n - 1] >> used != 0)
			return 0;
	return 1;
}

/* 16 or 32 bits of a float: all ones in the exponent are infinity or NaN. */
static int
all_finite(const unsigned char *p, uint64_t n, size_t size, unsigned exponent)
{
	uint64_t i;
	unsigned high;

	for (i = 1; i <= n / size; i++) {
		high = p[i * size - 1] * 256u + p[i * size - 2];
		if ((high & exponent) == exponent)
			return 0;
	}
	return 1;
}

static int
codes_ok(const struct sq_tensor *t, const unsigned char *p, uint64_t n)
{
	unsigned least = t->grid == SQ_FP8_E4M3 ? 0x7f : 0x7c;
	uint64_t i;

	if (t->grid != SQ_FP8_E4M3 && t->grid != SQ_FP8_E5M2)
		return row_ends_zero(t, p, sq_grid_bits(t->grid));
	for (i = 0; i < n; i++)
		if ((p[i] & 0x7f) >= least)
			return 0;
	return 1;
}

static int
all_below(const unsigned char *p, uint64_t n, unsigned limit)
{
	uint64_t i;

	for (i = 0; i < n; i++)
		if (p[i] >= limit)
			return 0;
	return 1;
}

static int
mask_ok(const struct sq_tensor *t, const unsigned char *p)
{
	struct sq_mask m = { t->sparse, (size_t)sq_tensor_rows(t),
	    (size_t)sq_tensor_cols(t), (uint8_t *)(uintptr_t)p };
	char why[SQ_ERR];

	return sq_mask_check(&m, why) == 0;
}

static int
values_ok(const struct sq_tensor *t, const struct sq_part *part,
    const unsigned char *p)
{
	if (strcmp(part->name, "mask") == 0)
		return mask_ok(t, p);
	if (strcmp(part->name, "codes") == 0)
		return codes_ok(t, p, part->length);
	switch (part->type) {
	case SQ_F16:
		return all_finite(p, part->length, 2, 0x7c00);
	case SQ_BF16:
		return all_finite(p, part->length, 2, 0x7f80);
	case SQ_F32:
		return all_finite(p, part->length, 4, 0x7f80);
	case SQ_F8_E8M0:
		return all_below(p, part->length, 255);
	case SQ_U8:
		return sq_grid_is_super(t->grid) ? all_below(p, part->length, 64) : 1;
	default:
		return 1;
	}
}

int
sq_tensor_check_data(const struct sq_tensor *t, const void *payload, char *err)
{
	const unsigned char *p = payload;
	const struct sq_part *part;
	uint64_t end = 0;
	int i;

	for (i = 0; i < t->nparts; i++) {
		part = &t->part[i];
		if (not_zero(p, end, part->offset) < part->offset)
			return sq_fail(err, "'%s': a gap that is not zero "
			    "before part '%s'", t->name, part->name);
		end = part->offset + part->length;
		if (t->grid == SQ_GRIDS || strcmp(part->name, "data") == 0)
			continue;
		if (!values_ok(t, part, p + part->offset))
			return sq_fail(err, "'%s': part '%s' holds values that "
			    "it must not", t->name, part->name);
	}
	return 0;
}
