/* lib/base/mask and sparse: patterns, checks, the compressed form. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/mask.h"
#include "base/tensor.h"

static char err[SQ_ERR];
static uint64_t seed = 1;

static uint32_t
draw(uint32_t n)
{
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(seed >> 33) % n;
}

START_TEST(texts)
{
	static const char *const good[] = { "2:4", "4:8", "1:64", "64x64",
	    "1x16", "65536x65536", "unstructured" };
	static const char *const bad[] = { "", "none", "4:4", "4:2", "0:4",
	    "2:65", "02:4", "2:4 ", " 2:4", "2:", ":4", "x4", "4x", "0x4",
	    "65537x1", "2-4", "4294967298:4294967300", "-1:4" };
	struct sq_sparse p;
	char text[SQ_SPARSE_TEXT];
	size_t i;

	for (i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		ck_assert_int_eq(sq_sparse_parse(&p, good[i]), 0);
		ck_assert_str_eq(sq_sparse_text(&p, text), good[i]);
	}
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_msg(sq_sparse_parse(&p, bad[i]) < 0, "'%s'", bad[i]);
}
END_TEST

static const struct {
	const char *pattern;
	size_t rows, cols;
} cases[] = {
	{ "2:4", 5, 24 }, { "4:8", 3, 40 }, { "1:3", 7, 27 },
	{ "5:16", 2, 48 }, { "63:64", 1, 64 }, { "4x8", 10, 21 },
	{ "64x64", 70, 130 }, { "1x3", 1, 10 }, { "unstructured", 9, 13 },
};

#define CASES	(sizeof(cases) / sizeof(cases[0]))

/* A mask that obeys its pattern with nothing to spare. */
static void
fill(struct sq_mask *m)
{
	const struct sq_sparse *p = &m->pattern;
	size_t r, c, left = 0, n;

	for (r = 0; r < m->rows; r++)
		for (c = 0; c < m->cols; c++)
			if (p->kind == SQ_MASK_ANY) {
				sq_mask_set(m, r, c, (int)draw(2));
			} else if (p->kind == SQ_MASK_BLOCKS) {
				n = r / p->n * 7 + c / p->m * 5;
				sq_mask_set(m, r, c, n % 3 == 1);
			} else {
				if (c % p->m == 0)
					left = p->n;
				n = p->m - c % p->m;
				n = draw((uint32_t)n) < left;
				sq_mask_set(m, r, c, (int)n);
				left -= n;
			}
}

START_TEST(compressed)
{
	struct sq_mask m, back;
	struct sq_sparse p;
	struct sq_packed k;
	uint8_t *index;
	uint16_t *w, *kept, *again;
	size_t rows = cases[_i].rows, cols = cases[_i].cols, i, n = 0;

	ck_assert_int_eq(sq_sparse_parse(&p, cases[_i].pattern), 0);
	ck_assert_int_eq(sq_mask_init(&m, &p, rows, cols, err), 0);
	ck_assert_int_eq(sq_mask_init(&back, &p, rows, cols, err), 0);
	fill(&m);
	ck_assert_msg(sq_mask_check(&m, err) == 0, "%s", err);
	ck_assert_msg(sq_mask_measure(&m, &k, err) == 0, "%s", err);
	ck_assert_uint_eq(k.values, sq_mask_kept(&m));
	index = malloc(k.index);
	sq_mask_pack(&m, &k, index);
	ck_assert_msg(sq_mask_unpack(&back, index, k.index, err) == 0, "%s",
	    err);
	ck_assert_mem_eq(m.bits, back.bits, rows * sq_mask_row(&m));

	w = calloc(rows * cols, sizeof(*w));
	kept = calloc(k.values, sizeof(*kept));
	again = calloc(rows * cols, sizeof(*again));
	for (i = 0; i < rows * cols; i++)
		if (sq_mask_get(&m, i / cols, i % cols))
			w[i] = (uint16_t)++n;
	sq_mask_squeeze(&m, w, sizeof(*w), kept);
	if (p.kind != SQ_MASK_BLOCKS)
		for (i = 0; i < n; i++)
			ck_assert_uint_eq(kept[i], i + 1);
	sq_mask_spread(&m, kept, sizeof(*w), again);
	ck_assert_mem_eq(w, again, rows * cols * sizeof(*w));
	free(w);
	free(kept);
	free(again);
	free(index);
	sq_mask_release(&m);
	sq_mask_release(&back);
}
END_TEST

/* One bit more than a pattern allows is seen, wherever it is. */
START_TEST(broken)
{
	struct sq_mask m;
	struct sq_sparse p;
	size_t i;

	ck_assert_int_eq(sq_sparse_parse(&p, cases[_i].pattern), 0);
	if (p.kind == SQ_MASK_ANY)
		return;
	ck_assert_int_eq(sq_mask_init(&m, &p, cases[_i].rows, cases[_i].cols,
	    err), 0);
	fill(&m);
	for (i = 0; i < m.rows * m.cols; i++) {
		if (sq_mask_get(&m, i / m.cols, i % m.cols))
			continue;
		sq_mask_set(&m, i / m.cols, i % m.cols, 1);
		if (i != m.cols - 1 || m.cols % p.m != 1)	/* no block */
			ck_assert_int_lt(sq_mask_check(&m, err), 0);
		sq_mask_set(&m, i / m.cols, i % m.cols, 0);
	}
	ck_assert_int_eq(sq_mask_check(&m, err), 0);
	if (m.cols % 8 != 0) {
		m.bits[sq_mask_row(&m) - 1] |= 0x80;
		ck_assert_int_lt(sq_mask_check(&m, err), 0);
	}
	sq_mask_release(&m);
}
END_TEST

/* By hand: 2:4, with a run that keeps one only, and bad indices. */
START_TEST(by_hand)
{
	struct sq_mask m, back;
	struct sq_sparse p = { SQ_MASK_RUNS, 2, 4 };
	uint8_t bits[] = { 0x83, 0x0a }, index[2], kept[8];
	static const uint8_t w[] = { 1, 2, 0, 0, 0, 0, 0, 8,
	    0, 9, 0, 7, 0, 0, 0, 0 };
	static const uint8_t want[] = { 1, 2, 0, 8, 9, 7, 0, 0 };
	struct sq_packed k;

	m = (struct sq_mask){ p, 2, 8, bits };
	ck_assert_int_eq(sq_mask_measure(&m, &k, err), 0);
	ck_assert_uint_eq(k.bits, 2);
	ck_assert_uint_eq(k.index, 2);
	ck_assert_uint_eq(k.values, 8);
	sq_mask_pack(&m, &k, index);
	ck_assert_uint_eq(index[0], 0xc4);	/* 0 1 | 0 3 */
	ck_assert_uint_eq(index[1], 0x4d);	/* 1 3 | 0 1 */
	sq_mask_squeeze(&m, w, 1, kept);
	ck_assert_mem_eq(kept, want, 8);
	ck_assert_int_eq(sq_mask_init(&back, &p, 2, 8, err), 0);
	index[0] = 0xc5;			/* 1 1 */
	ck_assert_int_lt(sq_mask_unpack(&back, index, 2, err), 0);
	ck_assert_int_lt(sq_mask_unpack(&back, index, 1, err), 0);
	back.cols = 7;
	ck_assert_int_lt(sq_mask_measure(&back, &k, err), 0);
	sq_mask_release(&back);
}
END_TEST

/* A tensor that breaks what it says of its mask is refused. */
START_TEST(in_tensors)
{
	struct sq_tensor t = { .name = "a", .type = SQ_BF16, .ndim = 2,
	    .dim = { 2, 8 }, .grid = SQ_DENSE,
	    .sparse = { SQ_MASK_RUNS, 2, 4 } };
	unsigned char p[66] = { 0 };

	sq_tensor_layout(&t, SQ_F16, 0);
	ck_assert_int_lt(sq_tensor_check(&t, err), 0);
	sq_tensor_layout(&t, SQ_F16, 1);
	ck_assert_int_eq(sq_tensor_check(&t, err), 0);
	ck_assert_uint_eq(t.length, sizeof(p));
	p[64] = 0x35;
	ck_assert_int_eq(sq_tensor_check_data(&t, p, err), 0);
	p[65] = 0x70;
	ck_assert_int_lt(sq_tensor_check_data(&t, p, err), 0);
	t.sparse.kind = SQ_MASK_ANY;
	ck_assert_int_eq(sq_tensor_check_data(&t, p, err), 0);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("mask");
	TCase *t = tcase_create("mask");
	SRunner *r;
	int bad;

	tcase_add_test(t, texts);
	tcase_add_loop_test(t, compressed, 0, CASES);
	tcase_add_loop_test(t, broken, 0, CASES);
	tcase_add_test(t, by_hand);
	tcase_add_test(t, in_tensors);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	bad = srunner_ntests_failed(r);
	srunner_free(r);
	return bad != 0;
}
