/* What benchmarks are made of: ranks, counters of energy, service levels. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "eval/energy.h"
#include "eval/load_all.h"
#include "eval/series.h"

static char err[SQ_ERR];

START_TEST(ranks)
{
	struct sq_series s = { 0 };
	int i;

	ck_assert(isnan(sq_series_mean(&s)) && isnan(sq_series_rank(&s, .5)));
	for (i = 100; i > 0; i--)
		ck_assert_int_eq(sq_series_add(&s, i), 0);
	sq_series_sort(&s);
	ck_assert(sq_series_rank(&s, 0) == 1 && sq_series_rank(&s, .5) == 50);
	ck_assert(sq_series_rank(&s, .99) == 99 && sq_series_rank(&s, 1) ==
	    100);
	ck_assert_double_eq_tol(sq_series_mean(&s), 50.5, 1e-12);
	ck_assert_double_eq_tol(sq_series_std(&s), sqrt(9999 / 12.), 1e-12);
	sq_series_release(&s);
}
END_TEST

static void
put(const char *dir, const char *file, const char *text)
{
	char path[256];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, file);
	f = fopen(path, "w");
	ck_assert_ptr_nonnull(f);
	fputs(text, f);
	fclose(f);
}

/* Two packages, one of whose counters wraps. */
START_TEST(energy)
{
	char root[] = "/tmp/sq-energy-XXXXXX", dir[2][64], command[80];
	struct sq_energy e;
	double cards;
	int i;

	ck_assert_ptr_nonnull(mkdtemp(root));
	for (i = 0; i < 2; i++) {
		snprintf(dir[i], sizeof(dir[i]), "%s/intel-rapl:%d", root, i);
		ck_assert_int_eq(mkdir(dir[i], 0700), 0);
		put(dir[i], "max_energy_range_uj", "10000000\n");
		put(dir[i], "energy_uj", "9000000\n");
	}
	sq_energy_open(&e, root);
	ck_assert_uint_eq(e.packages, 2);
	ck_assert_ptr_nonnull(strstr(sq_energy_method(&e), "rapl"));
	cards = sq_energy_read(&e);
	put(dir[0], "energy_uj", "9500000\n");
	put(dir[1], "energy_uj", "500000\n");
	if (e.cards == 0) {
		ck_assert(cards == 0);
		ck_assert_double_eq_tol(sq_energy_read(&e), .5 + 1.5, 1e-9);
		ck_assert_double_eq_tol(sq_energy_read(&e), .5 + 1.5, 1e-9);
	}
	sq_energy_close(&e);
	sq_energy_open(&e, "/nowhere");
	if (e.cards == 0) {
		ck_assert(isnan(sq_energy_read(&e)));
		ck_assert_str_eq(sq_energy_method(&e), "not available");
	}
	sq_energy_close(&e);
	snprintf(command, sizeof(command), "rm -r '%s'", root);
	ck_assert_int_eq(system(command), 0);
}
END_TEST

START_TEST(limits)
{
	struct sq_load_how h = { 0 };

	ck_assert_int_eq(sq_load_slo(&h, "e2e=9,ttft=1.5", err), 0);
	ck_assert(h.slo_ttft == 1.5 && h.slo_tpot == 0 && h.slo_e2e == 9);
	ck_assert_int_eq(sq_load_slo(&h, "", err), -1);
	ck_assert_int_eq(sq_load_slo(&h, "ttft=1,", err), -1);
	ck_assert_int_eq(sq_load_slo(&h, "ttft=1x", err), -1);
	ck_assert_int_eq(sq_load_slo(&h, "tpot=-1", err), -1);
	ck_assert_int_eq(sq_load_slo(&h, "tpot=inf", err), -1);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("bench");
	TCase *c = tcase_create("all");
	SRunner *sr = srunner_create(s);
	int failed;

	suite_add_tcase(s, c);
	tcase_add_test(c, energy);
	tcase_add_test(c, limits);
	tcase_add_test(c, ranks);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
