/*
 * Sparse layouts: back to the same bytes, and what lies is refused.  Whether
 * products are right is for check_sparse_matmul.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "kernels/sparse.h"

#define ROWS	67
#define COLS	200

static struct sq_rng rng = { 7 };

static unsigned
below(unsigned n)
{
	return (unsigned)(sq_rng_uniform(&rng) * n);
}

/* A weight whose dropped values are zero, and its mask. */
struct sample {
	struct sq_weight w, to;
	struct sq_mask mask;
	uint8_t data[ROWS * COLS * 4], zeros[ROWS * 4];
	uint16_t scales[ROWS * 4];
	size_t kept, values_size, index_size;
	void *values, *index;
};

static void
put(struct sample *s, size_t r, size_t c, unsigned v)
{
	size_t bits = sq_sparse_bits(&s->w);
	uint8_t *p = s->data;

	if (bits == 4) {
		p += r * sq_row_bytes(COLS, 4) + c / 2;
		*p = (uint8_t)((*p & (c % 2 ? 15 : 240)) |
		    (v & 15) << 4 * (c % 2));
		return;
	}
	memset(p + (r * COLS + c) * bits / 8, (int)v, bits / 8);
}

static void
mask_of(struct sq_mask *m, unsigned most)
{
	size_t n = m->pattern.n, run = m->pattern.m, r, c, i;

	for (r = 0; r < ROWS; r++)
		for (c = 0; c < COLS; c++) {
			if (m->pattern.kind == SQ_MASK_BLOCKS)
				sq_mask_set(m, r, c, r % n != 0 ?
				    sq_mask_get(m, r - 1, c) : c % run != 0 ?
				    sq_mask_get(m, r, c - 1) : (int)below(2));
			else if (c % run == 0)
				for (i = below(most); i < n; i++)
					if (c + i * 3 % run < COLS)
						sq_mask_set(m, r, c + i * 3 %
						    run, 1);
		}
}

static struct sample *
sample(const char *pattern, enum sq_grid grid, enum sq_dtype type, int zeros)
{
	struct sample *s = calloc(1, sizeof(*s));
	struct sq_sparse p;
	char err[SQ_ERR];
	size_t r, c, i;

	ck_assert_int_eq(sq_sparse_parse(&p, pattern), 0);
	ck_assert_int_eq(sq_mask_init(&s->mask, &p, ROWS, COLS, err), 0);
	mask_of(&s->mask, p.n == 1 ? 1 : 2);
	ck_assert_int_eq(sq_mask_check(&s->mask, err), 0);
	s->w = (struct sq_weight){ .grid = grid, .rows = ROWS, .cols = COLS,
	    .type = type, .data = s->data, .group_rows = 1, .group_cols = 64,
	    .scale_type = SQ_F16, .scales = s->scales,
	    .zeros = zeros ? s->zeros : NULL };
	for (i = 0; i < sizeof(s->zeros); i++)
		s->zeros[i] = (uint8_t)below(16);
	for (r = 0; r < ROWS; r++)
		for (c = 0; c < COLS; c++)
			put(s, r, c, sq_mask_get(&s->mask, r, c) ? below(256) :
			    grid == SQ_DENSE ? 0 : zeros ?
			    s->zeros[r * 4 + c / 64] :
			    1u << (sq_grid_bits(grid) - 1));
	return s;
}

static void
pack(struct sample *s)
{
	s->values_size = sq_sparse_values(&s->to, s->kept);
	s->index_size = sq_sparse_index(&s->to, s->kept);
	s->to.data = s->values = malloc(s->values_size);
	s->to.index = s->index = malloc(s->index_size);
	sq_sparse_pack(&s->w, &s->mask, &s->to, s->kept, s->values, s->index);
}

static void
sample_free(struct sample *s)
{
	sq_mask_release(&s->mask);
	free(s->values);
	free(s->index);
	free(s);
}

static const char *const patterns[] = { "2:4", "1:2", "1:4", "4:8", "3:8",
	"1:8", "64x64", "32x32", "1x16", "5x48" };
static const struct {
	enum sq_grid grid;
	enum sq_dtype type;
	int zeros;
} kinds[] = { { SQ_DENSE, SQ_F32, 0 }, { SQ_DENSE, SQ_BF16, 0 },
	{ SQ_INT8, SQ_F32, 0 }, { SQ_INT8, SQ_F32, 1 }, { SQ_INT4, SQ_F32, 0 },
	{ SQ_INT4, SQ_F32, 1 } };

#define N(a)	((int)(sizeof(a) / sizeof((a)[0])))

START_TEST(identity)
{
	int i = _i % N(patterns), j = _i / N(patterns);
	struct sample *s = sample(patterns[i], kinds[j].grid, kinds[j].type,
	    kinds[j].zeros);
	struct sq_mask back;
	char err[SQ_ERR];
	uint8_t *rows = malloc(sizeof(s->data));
	size_t n = ROWS * (kinds[j].grid == SQ_INT4 ? COLS / 2 : COLS *
	    sq_sparse_bits(&s->w) / 8);

	ck_assert_int_eq(sq_sparse_plan(&s->w, &s->mask, &s->to, &s->kept), 0);
	pack(s);
	ck_assert_int_eq(sq_sparse_check(&s->to, s->values_size,
	    s->index_size, err), 0);
	ck_assert_int_eq(sq_mask_init(&back, &s->mask.pattern, ROWS, COLS,
	    err), 0);
	ck_assert_int_eq(sq_sparse_unpack(&s->to, rows, &back, err), 0);
	ck_assert_mem_eq(rows, s->data, n);
	ck_assert_mem_eq(back.bits, s->mask.bits, ROWS * sq_mask_row(&back));
	if (strcmp(patterns[i], "2:4") == 0 && kinds[j].grid == SQ_INT8)
		ck_assert_uint_le(s->values_size + s->index_size,
		    (ROWS + 1) * 224 * 66 / 100);
	sq_mask_release(&back);
	free(rows);
	sample_free(s);
}
END_TEST

/* What it drops is not zero, or it keeps more than any layout has. */
START_TEST(no_layout)
{
	struct sample *s = sample("2:4", SQ_INT8, SQ_F32, 0);
	size_t r = 0, c = 0;

	while (sq_mask_get(&s->mask, r, c))
		c++;
	put(s, r, c, 1);
	ck_assert_int_lt(sq_sparse_plan(&s->w, &s->mask, &s->to, &s->kept), 0);
	sample_free(s);
	s = sample("7:8", SQ_DENSE, SQ_BF16, 0);
	ck_assert_int_lt(sq_sparse_plan(&s->w, &s->mask, &s->to, &s->kept), 0);
	sample_free(s);
	s = sample("8x8", SQ_DENSE, SQ_BF16, 0);
	ck_assert_int_lt(sq_sparse_plan(&s->w, &s->mask, &s->to, &s->kept), 0);
	sample_free(s);
}
END_TEST

START_TEST(lies)
{
	struct sample *s = sample("64x64", SQ_INT8, SQ_F32, 0);
	char err[SQ_ERR];
	uint32_t *start, one;
	uint16_t *column, two;

	ck_assert_int_eq(sq_sparse_plan(&s->w, &s->mask, &s->to, &s->kept), 0);
	pack(s);
	ck_assert_uint_ge(s->kept, 2);
#define CHECK(values, index)	sq_sparse_check(&s->to, values, index, err)
	ck_assert_int_lt(CHECK(s->values_size - 1, s->index_size), 0);
	ck_assert_int_lt(CHECK(s->values_size, s->index_size - 1), 0);
	ck_assert_int_lt(CHECK(s->values_size - 4096, s->index_size - 2), 0);
	start = s->index;
	column = (uint16_t *)(start + 3);
	two = column[0];
	column[0] = 4;
	ck_assert_int_lt(CHECK(s->values_size, s->index_size), 0);
	column[0] = two;
	one = start[1];
	start[1] = (uint32_t)s->kept + 1;
	ck_assert_int_lt(CHECK(s->values_size, s->index_size), 0);
	start[1] = one;
	start[0] = 1;
	ck_assert_int_lt(CHECK(s->values_size, s->index_size), 0);
	start[0] = 0;
	ck_assert_int_eq(CHECK(s->values_size, s->index_size), 0);
	sample_free(s);
}
END_TEST

/* A value in an empty slot, and one that is kept beyond the last column. */
START_TEST(out_of_place)
{
	struct sample *s = sample("2:4", SQ_INT8, SQ_F32, 0);
	uint8_t *rows = malloc(sizeof(s->data)), *v;
	struct sq_mask back;
	char err[SQ_ERR];
	size_t i;

	ck_assert_int_eq(sq_sparse_plan(&s->w, &s->mask, &s->to, &s->kept), 0);
	pack(s);
	ck_assert_int_eq(sq_mask_init(&back, &s->mask.pattern, ROWS, COLS,
	    err), 0);
	memset(s->index, 0, s->index_size);	/* the second slot is empty */
	v = s->values;
	for (i = 0; i < s->values_size; i++)
		v[i] = 5;
	ck_assert_int_lt(sq_sparse_unpack(&s->to, rows, &back, err), 0);
	for (i = 0; i < s->values_size; i++)
		v[i] = i % 2 ? 0 : 5;
	ck_assert_int_eq(sq_sparse_unpack(&s->to, rows, &back, err), 0);
	s->to.cols = 197;		/* the last run has one column */
	s->w.cols = 197;
	memset(s->index, 0xff, s->index_size);
	ck_assert_int_lt(sq_sparse_unpack(&s->to, rows, &back, err), 0);
	sq_mask_release(&back);
	free(rows);
	sample_free(s);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("stored");
	TCase *t = tcase_create("all");
	SRunner *r;
	int bad;

	tcase_add_loop_test(t, identity, 0, N(patterns) * N(kinds));
	tcase_add_test(t, no_layout);
	tcase_add_test(t, lies);
	tcase_add_test(t, out_of_place);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	bad = srunner_ntests_failed(r);
	srunner_free(r);
	return bad != 0;
}
