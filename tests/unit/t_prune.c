/* lib/prune: masks from scores, sparsity by sensitivity, layers with less
 * input. */
#include "base/mask.h"
#include "prune/permute.h"
#include "prune/score.h"
#include "prune/shrink.h"
#include "tests/unit/gptq_case.h"

START_TEST(from_scores)
{
	static const float score[] = {
		1, 9, 2, 8,	1, 1, 1, 1,
		5, 5, 5, 5,	0, 0, 0, 7,
	};
	static const struct {
		const char *pattern;
		int by_row;
		uint8_t want[2];	/* the first column is the lowest bit */
	} cases[] = {
		{ "2:4", 0, { 0x3a, 0x93 } },
		{ "unstructured", 0, { 0x1a, 0x8f } },
		{ "unstructured", 1, { 0x1e, 0x0f | 0x80 } },
		{ "1x4", 0, { 0x0f, 0x0f } },
		{ "2x4", 0, { 0x0f, 0x0f } },
	};
	uint8_t bits[2];
	struct sq_mask m = { .rows = 2, .cols = 8, .bits = bits };
	size_t i, r;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		ck_assert_int_eq(sq_sparse_parse(&m.pattern,
		    cases[i].pattern), 0);
		memset(bits, 0xff, 2);
		ck_assert_int_eq(sq_score_mask(&m, score, 0.5,
		    cases[i].by_row, err), 0);
		ck_assert_int_eq(sq_mask_check(&m, err), 0);
		if (i == 1 || i == 2) {	/* equals: how many is what counts */
			ck_assert_uint_eq(sq_mask_kept(&m), 8);
			ck_assert(sq_mask_get(&m, 0, 1) &&
			    sq_mask_get(&m, 0, 3) && sq_mask_get(&m, 1, 7));
			continue;
		}
		for (r = 0; r < 2; r++)
			ck_assert_msg(bits[r] == cases[i].want[r],
			    "%s, row %zu: %x", cases[i].pattern, r, bits[r]);
	}
}
END_TEST

/* More goes where less is lost, and in all as much as was asked for. */
START_TEST(spread)
{
	static float curve[3][SQ_CURVE + 1];
	static const uint64_t weights[] = { 1000, 1000, 3000 };
	float score[4096];
	double each[3], sum = 0;
	size_t i, t;

	for (t = 0; t < 3; t++) {
		for (i = 0; i < 4096; i++)
			score[i] = powf((float)(i + 1) / 4096,
			    t == 0 ? 6 : 1);
		ck_assert_int_eq(sq_score_curve(score, 4096, 1, curve[t],
		    err),
		    0);
		ck_assert_float_eq(curve[t][0], 0);
		ck_assert_float_eq_tol(curve[t][SQ_CURVE], 1, 1e-4);
		/* the sum of x^p up to s is about s^(p + 1) */
		ck_assert_float_eq_tol(curve[t][SQ_CURVE / 2],
		    t == 0 ? 1 / 128.f : 1 / 4.f, 2e-2);
	}
	sq_score_allocate(3, weights, curve, 0.5, 0.2, each);
	for (t = 0; t < 3; t++)
		sum += each[t] * (double)weights[t];
	ck_assert_double_eq_tol(sum / 5000, 0.5, 1e-9);
	ck_assert_double_gt(each[0], each[1] + 0.05);
	ck_assert_double_le(each[0], 0.75);
}
END_TEST

/* What 2:4 keeps of 8 channels of 24 rows whose first run is `set', naively. */
static double
naive_kept(const float *score, unsigned set)
{
	double sum = 0, v[2][4], t;
	size_t r, c, i, j, k, n[2];

	for (r = 0; r < 24; r++) {
		for (n[0] = n[1] = c = 0; c < 8; c++) {
			k = set >> c & 1;
			v[k][n[k]++] = score[c * 24 + r];
		}
		for (k = 0; k < 2; k++)
			for (i = 0; i < 2; i++)
				for (j = i + 1; j < 4; j++)
					if (v[k][j] > v[k][i]) {
						t = v[k][i];
						v[k][i] = v[k][j];
						v[k][j] = t;
					}
		sum += v[0][0] + v[0][1] + v[1][0] + v[1][1];
	}
	return sum;
}

/* The search against all 70 ways to make two runs: what it says is so, it is
 * never worse than before, and close to the best. */
START_TEST(permutation)
{
	struct sq_rng rng = { 7 };
	float score[8 * 24];
	uint32_t perm[8];
	struct sq_permutation p = { .n = 8, .len = 24, .keep = 2, .run = 4,
	    .tries = 20, .score = score, .perm = perm };
	double best, v, gained = 0, possible = 0;
	unsigned set, seen, first;
	size_t i, t, c;

	for (t = 0; t < 50; t++) {
		for (i = 0; i < 8 * 24; i++) {
			v = sq_rng_uniform(&rng);
			c = i / 24;
			score[i] = (float)(v * v * v * (c < 4 ? 3 : 1));
		}
		ck_assert_int_eq(sq_permutation_find(&p, err), 0);
		for (i = 0, seen = first = 0; i < 8; i++) {
			seen |= 1u << perm[i];
			first |= i < 4 ? 1u << perm[i] : 0;
		}
		ck_assert_uint_eq(seen, 0xff);
		ck_assert_double_eq_tol(p.before, naive_kept(score, 0xf),
		    1e-4);
		ck_assert_double_eq_tol(p.after, naive_kept(score, first),
		    1e-4);
		for (set = 0, best = 0; set < 256; set++)
			if (__builtin_popcount(set) == 4)
				best = fmax(best, naive_kept(score, set));
		ck_assert_double_ge(p.after, p.before);
		ck_assert_double_le(p.after, best + 1e-4);
		gained += p.after - p.before;
		possible += best - p.before;
	}
	ck_assert_double_ge(gained, 0.9 * possible);
}
END_TEST

/* Channels that are the sum of others cost nothing, and they are what goes: one
 * by one, and in units. */
START_TEST(free_columns)
{
	size_t n = 24, unit = _i == 0 ? 1 : 4, tokens = 500, r, c, t, i, at;
	struct sq_rng rng = { 5 };
	float *h = calloc(n * (n + 1) / 2, sizeof(*h)), x[24];
	float *w = malloc(8 * n * sizeof(*w));
	struct sq_shrink s = { .lapack = la, .damp = 1e-4, .n = n,
	    .unit = unit, .rows = 8, .h = h, .w = w, .keep = 20 / unit };

	for (i = 0; i < 8 * n; i++)
		w[i] = (float)normal(&rng);
	for (t = 0; t < tokens; t++) {
		for (c = 0; c < n; c++)
			x[c] = (float)normal(&rng);
		for (c = 8; c < 12; c++)	/* of those of other units */
			x[c] = x[c - 8] + x[c + 4];
		for (at = r = 0; r < n; r++)
			for (c = r; c < n; c++)
				h[at++] += x[r] * x[c];
	}
	ck_assert_msg(sq_shrink(&s, err) == 0, "%s", err);
	ck_assert_double_lt(s.error, 1e-3 * s.norm);
	ck_assert_double_gt(s.alone, 10 * s.error);
	for (i = 1; i < s.keep; i++)
		ck_assert_uint_gt(s.unit_kept[i], s.unit_kept[i - 1]);
	sq_shrink_release(&s);
	s.keep = 12 / unit;		/* now it costs, but not as much */
	ck_assert_int_eq(sq_shrink(&s, err), 0);
	ck_assert_double_lt(s.error, s.alone);
	ck_assert_double_gt(s.error, 1e-2 * s.norm);
	sq_shrink_release(&s);
	free(h);
	free(w);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("prune");
	TCase *t = tcase_create("prune");
	SRunner *r;
	int bad;

	kern = sq_kern_find("auto", err);
	la = kern == NULL ? NULL : sq_lapack_open(kern->name, err);
	if (la == NULL) {
		fprintf(stderr, "%s\n", err);
		return 1;
	}
	tcase_add_test(t, from_scores);
	tcase_add_test(t, spread);
	tcase_add_test(t, permutation);
	tcase_add_loop_test(t, free_columns, 0, 2);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	bad = srunner_ntests_failed(r);
	srunner_free(r);
	return bad != 0;
}
