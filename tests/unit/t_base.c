/* lib/base: err, utf8, dtype, grid. */
#include <check.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>

#include "base/dtype.h"
#include "base/err.h"
#include "base/grid.h"
#include "base/io.h"
#include "base/utf8.h"

static char err[SQ_ERR];

START_TEST(reasons)
{
	ck_assert_int_eq(sq_fail(err, "'%s': %d", "x", 3), -1);
	ck_assert_str_eq(err, "'x': 3");
	sq_fail(err, "again: %s", err);
	ck_assert_str_eq(err, "again: 'x': 3");
	errno = ENOENT;
	ck_assert_int_eq(sq_fail_errno(err, "'%s'", "f"), -1);
	ck_assert_str_eq(err, "'f': No such file or directory");
}
END_TEST

/* Names from files: nothing that a terminal would obey gets through. */
START_TEST(untrusted)
{
	sq_fail(err, "%s", "a\nb\033[2Jc\177d\tz");
	ck_assert_str_eq(err, "a?b?[2Jc?d?z");
	sq_fail(err, "%s", "\xc3\xa9 \xff\xc3( \xed\xa0\x80");
	ck_assert_str_eq(err, "\xc3\xa9 ?" "?( ???");
}
END_TEST

START_TEST(long_reasons)
{
	char name[3 * SQ_ERR];

	memset(name, 'a', sizeof(name));
	name[sizeof(name) - 1] = '\0';
	sq_fail(err, "%s", name);
	ck_assert_uint_eq(strlen(err), SQ_ERR - 1);
	sq_fail_errno(err, "%s", name);
	ck_assert_uint_eq(strlen(err), SQ_ERR - 1);
	/* a character that is cut does not leave half of itself */
	memset(name, 'a', SQ_ERR - 2);
	strcpy(name + SQ_ERR - 2, "\xc3\xa9");
	sq_fail(err, "%s", name);
	ck_assert_int_eq(sq_utf8_valid(err, strlen(err)), 1);
}
END_TEST

static const struct {
	const char *s;
	size_t n, len;
} characters[] = {
	{ "", 0, 0 }, { "a", 1, 1 }, { "\0", 1, 1 }, { "\x7f", 1, 1 },
	{ "\x80", 1, 0 }, { "\xbf", 1, 0 },
	{ "\xc1\xbf", 2, 0 }, { "\xc2\x80", 2, 2 }, { "\xdf\xbf", 2, 2 },
	{ "\xc2", 1, 0 }, { "\xc2\x41", 2, 0 }, { "\xc2\xc0", 2, 0 },
	{ "\xe0\x9f\xbf", 3, 0 }, { "\xe0\xa0\x80", 3, 3 },
	{ "\xed\x9f\xbf", 3, 3 }, { "\xed\xa0\x80", 3, 0 },
	{ "\xed\xbf\xbf", 3, 0 }, { "\xee\x80\x80", 3, 3 },
	{ "\xef\xbf\xbf", 3, 3 }, { "\xe2\x82", 2, 0 },
	{ "\xe2\x82\x41", 3, 0 },
	{ "\xf0\x8f\xbf\xbf", 4, 0 }, { "\xf0\x90\x80\x80", 4, 4 },
	{ "\xf4\x8f\xbf\xbf", 4, 4 }, { "\xf4\x90\x80\x80", 4, 0 },
	{ "\xf5\x80\x80\x80", 4, 0 }, { "\xff", 1, 0 },
	{ "\xf0\x9f\x98", 3, 0 }, { "ab", 2, 1 },
};

START_TEST(utf8)
{
	size_t i;

	for (i = 0; i < sizeof(characters) / sizeof(characters[0]); i++)
		ck_assert_msg(sq_utf8_len(characters[i].s, characters[i].n) ==
		    characters[i].len, "case %zu", i);
	ck_assert_int_eq(sq_utf8_valid("", 0), 1);
	ck_assert_int_eq(sq_utf8_valid("z\xc3\xa9\xf0\x9f\x98\x80", 7), 1);
	ck_assert_int_eq(sq_utf8_valid("z\xc3\xa9\xf0\x9f\x98\x80", 6), 0);
	ck_assert_int_eq(sq_utf8_valid("a\xff", 2), 0);
}
END_TEST

START_TEST(dtypes)
{
	static const size_t size[SQ_DTYPES] = {
		[SQ_F32] = 4, [SQ_F16] = 2, [SQ_BF16] = 2, [SQ_F8_E4M3] = 1,
		[SQ_F8_E5M2] = 1, [SQ_F8_E8M0] = 1, [SQ_I64] = 8,
		[SQ_I32] = 4, [SQ_I16] = 2, [SQ_I8] = 1, [SQ_U64] = 8,
		[SQ_U32] = 4, [SQ_U16] = 2, [SQ_U8] = 1, [SQ_BOOL] = 1,
		[SQ_BITS] = 0,
	};
	int t;

	for (t = 0; t < SQ_DTYPES; t++) {
		ck_assert_int_eq(sq_dtype_find(sq_dtype_name(
		    (enum sq_dtype)t)), t);
		ck_assert_uint_eq(sq_dtype_size((enum sq_dtype)t), size[t]);
		ck_assert_int_eq(sq_dtype_is_float((enum sq_dtype)t),
		    t == SQ_F32 || t == SQ_F16 || t == SQ_BF16);
	}
	ck_assert_int_eq(sq_dtype_find("F8_E4M3"), SQ_F8_E4M3);
	ck_assert_int_eq(sq_dtype_find("bf16"), -1);
	ck_assert_int_eq(sq_dtype_find(""), -1);
}
END_TEST

START_TEST(grids)
{
	static const int bits[] = { 2, 3, 4, 5, 6, 8 };
	size_t i;
	int g;

	for (g = 0; g < SQ_GRIDS; g++) {
		ck_assert_int_eq(sq_grid_find(sq_grid_name((enum sq_grid)g)),
		    g);
		ck_assert_int_eq(sq_grid_is_int((enum sq_grid)g),
		    g >= SQ_INT2 && g <= SQ_INT8);
		ck_assert((sq_grid_bits((enum sq_grid)g) == 0) ==
		    (g == SQ_DENSE));
	}
	for (i = 0; i < sizeof(bits) / sizeof(bits[0]); i++) {
		g = sq_grid_of_bits(bits[i]);
		ck_assert_int_eq(sq_grid_is_int((enum sq_grid)g), 1);
		ck_assert_int_eq(sq_grid_bits((enum sq_grid)g), bits[i]);
	}
	ck_assert_int_eq(sq_grid_of_bits(7), -1);
	ck_assert_int_eq(sq_grid_of_bits(0), -1);
	ck_assert_int_eq(sq_grid_find("int7"), -1);
	ck_assert_int_eq(sq_grid_find("iq4_nl"), SQ_IQ4_NL);
}
END_TEST

START_TEST(row_bytes)
{
	ck_assert_uint_eq(sq_row_bytes(0, 4), 0);
	ck_assert_uint_eq(sq_row_bytes(1, 2), 1);
	ck_assert_uint_eq(sq_row_bytes(3, 3), 2);
	ck_assert_uint_eq(sq_row_bytes(8, 3), 3);
	ck_assert_uint_eq(sq_row_bytes(2048, 8), 2048);
	ck_assert_uint_eq(sq_row_bytes((size_t)1 << 32, 5),
	    ((size_t)1 << 32) / 8 * 5);
}
END_TEST

START_TEST(maps)
{
	static const size_t sizes[] = { 1, 4096, 5000, (2 << 20) - 1, 2 << 20,
	    (4 << 20) + 3 };
	static char buf[(4 << 20) + 3];
	size_t i, n;
	void *p;
	int fd;

	for (i = 0; i < sizeof(buf); i++)
		buf[i] = (char)(i * 7 + i / 4096);
	for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		n = sizes[i];
		fd = sq_temp_file();
		ck_assert_int_ge(fd, 0);
		ck_assert_int_eq(sq_write_full(fd, buf, n), 0);
		p = sq_map_file(fd, n);
		ck_assert_ptr_nonnull(p);
		ck_assert_int_eq(memcmp(p, buf, n), 0);
		ck_assert_int_eq(munmap(p, n), 0);
		close(fd);
	}
	ck_assert_ptr_null(sq_map_file(-1, 4096));
	ck_assert_int_eq(errno, EBADF);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("base");
	TCase *tc = tcase_create("all");
	SRunner *sr;
	int failed;

	tcase_add_test(tc, reasons);
	tcase_add_test(tc, untrusted);
	tcase_add_test(tc, long_reasons);
	tcase_add_test(tc, utf8);
	tcase_add_test(tc, dtypes);
	tcase_add_test(tc, grids);
	tcase_add_test(tc, row_bytes);
	tcase_add_test(tc, maps);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
