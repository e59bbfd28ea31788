/*
 * The file of measured products of a device's decoder: what was added is found,
 * by a later reader too; a file of another device is begun anew.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "kernels/cuda/dec_table.c"

static char path[64], err[SQ_ERR];

static const struct dec_product some[] = {
	{ 4096, 4096, 256, 1, 0, 0 }, { 4096, 4096, 256, 1, 0, 1 },
	{ 4096, 4096, 256, 0, 1, 0 }, { 128256, 4096, 16, 1, 1, 0 }
};

#define SOME	(sizeof(some) / sizeof(some[0]))

static void
begin(void)
{
	int fd;

	snprintf(path, sizeof(path), "/tmp/t_dec_table.XXXXXX");
	ck_assert((fd = mkstemp(path)) >= 0);
	close(fd);
}

static void
end(void)
{
	unlink(path);
}

static struct dec_table *
opened(const char *of)
{
	struct dec_table *t = dec_table_open(path, of, err);

	ck_assert_msg(t != NULL, "%s", err);
	return t;
}

START_TEST(found_again)
{
	struct dec_table *t = opened("card A");
	size_t i;

	for (i = 0; i < SOME; i++) {
		ck_assert_int_eq(dec_table_find(t, &some[i]), -1);
		dec_table_add(t, &some[i], (int)i + 3);
		ck_assert_int_eq(dec_table_find(t, &some[i]), (int)i + 3);
	}
	dec_table_close(t);
	t = opened("card A");
	for (i = 0; i < SOME; i++)
		ck_assert_int_eq(dec_table_find(t, &some[i]), (int)i + 3);
	dec_table_close(t);
}
END_TEST

START_TEST(goes_on)
{
	struct dec_table *t = opened("card A");

	dec_table_add(t, &some[0], 1);
	dec_table_close(t);
	t = opened("card A");
	dec_table_add(t, &some[1], 2);
	dec_table_close(t);
	t = opened("card A");
	ck_assert_int_eq(dec_table_find(t, &some[0]), 1);
	ck_assert_int_eq(dec_table_find(t, &some[1]), 2);
	dec_table_close(t);
}
END_TEST

START_TEST(of_another)
{
	struct dec_table *t = opened("card A");

	dec_table_add(t, &some[0], 1);
	dec_table_close(t);
	t = opened("card B");
	ck_assert_int_eq(dec_table_find(t, &some[0]), -1);
	dec_table_close(t);
	t = opened("card A");
	ck_assert_int_eq(dec_table_find(t, &some[0]), -1);
	dec_table_close(t);
}
END_TEST

START_TEST(bad_lines)
{
	FILE *f = fopen(path, "w");
	struct dec_table *t;

	ck_assert(f != NULL);
	fputs("# card A\n4096 4096 256 fp9 bf16 bare 3\nnothing\n"
	    "4096 4096 256 fp8 bf16 bare -1\n4096 4096 256 fp8 bf16 bare 5\n",
	    f);
	fclose(f);
	t = opened("card A");
	ck_assert_int_eq(dec_table_find(t, &some[0]), 5);
	ck_assert_int_eq(dec_table_find(t, &some[1]), -1);
	dec_table_close(t);
}
END_TEST

START_TEST(no_place)
{
	ck_assert(dec_table_open("/nowhere/at/all", "card A", err) == NULL);
	ck_assert(strstr(err, "/nowhere/at/all") != NULL);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("dec_table");
	TCase *c = tcase_create("all");
	SRunner *r;
	int bad;

	tcase_add_checked_fixture(c, begin, end);
	tcase_add_test(c, found_again);
	tcase_add_test(c, goes_on);
	tcase_add_test(c, of_another);
	tcase_add_test(c, bad_lines);
	tcase_add_test(c, no_place);
	suite_add_tcase(s, c);
	r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	bad = srunner_ntests_failed(r);
	srunner_free(r);
	return bad > 0;
}
