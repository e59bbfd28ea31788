/*
 * lib/model/source_quantized and its kinds on the checkpoints of
 * tests/formats/quantized: mkvectors_quantized.py packed them bit by bit and
 * says which code, scale and zero point is where.
 */
#include <check.h>
#include <dirent.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/floats.h"
#include "base/io.h"
#include "model/source.h"
#include "tests/formats/split_vector.h"

#define VECTORS	"tests/formats/quantized"

static char dir[64];

static void
setup(void)
{
	snprintf(dir, sizeof(dir), "/tmp/t_quantized.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
}

static void
teardown(void)
{
	char path[512];
	size_t i;

	for (i = 0; i < SPLIT_NAMES; i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, split_names[i]);
		unlink(path);
	}
	snprintf(path, sizeof(path), "%s/model.safetensors", dir);
	unlink(path);
	rmdir(dir);
}

static void
unpack(const char *folder, const char *name)
{
	char path[512], err[SQ_ERR], *data;
	size_t n;

	snprintf(path, sizeof(path), VECTORS "/%s/%s", folder, name);
	data = sq_read_file(-100, path, 1 << 20, &n, err);
	ck_assert_msg(data != NULL, "%s", err);
	ck_assert_int_eq(split_vector(dir, data, n), 0);
	free(data);
}

/* The number of a module in the order of the vectors, or -1. */
static int
module_of(const char *name)
{
	static const char *const modules[] = { "q_proj", "k_proj", "v_proj",
	    "o_proj", "gate_proj", "up_proj", "down_proj" };
	int i;

	for (i = 0; i < 7; i++)
		if (strstr(name, modules[i]) != NULL)
			return i;
	return -1;
}

static void *
part(const struct sq_source *s, const struct sq_source_tensor *t,
    const char *name)
{
	const struct sq_part *p = sq_tensor_part(&t->t, name);
	char err[SQ_ERR];
	void *buf;

	if (p == NULL)
		return NULL;
	buf = malloc((size_t)p->length + 1);
	ck_assert_msg(sq_source_read(s, t, (int)(p - t->t.part), 0, buf,
	    (size_t)p->length, err) == 0, "%s", err);
	return buf;
}

static void
codes_are(const struct sq_tensor *t, const uint8_t *codes, unsigned m)
{
	int bits = sq_grid_bits(t->grid);
	unsigned mod = t->grid == SQ_FP8_E4M3 ? 64 : 1u << bits, o, i;
	size_t n = sq_row_bytes((size_t)t->dim[1], bits), wrong = 0;

	for (o = 0; o < t->dim[0]; o++)
		for (i = 0; i < t->dim[1]; i++)
			wrong += sq_bits_get(codes + o * n, i, bits) !=
			    (3 * o + 5 * i + i * i % 7 + m) % mod;
	ck_assert_uint_eq(wrong, 0);
}

static void
tensor_is(const struct sq_source *s, const struct sq_source_tensor *t,
    unsigned m)
{
	const struct sq_tensor *w = &t->t;
	uint8_t *codes = part(s, t, "codes"), *zeros = part(s, t, "zeros");
	void *scales = part(s, t, "scales");
	unsigned o, g, n = (unsigned)sq_tensor_group_cols(w);
	unsigned rows = (unsigned)sq_tensor_group_rows(w);
	unsigned mod = (1u << sq_grid_bits(w->grid)) - 1, wrong = 0;

	codes_are(w, codes, m);
	for (o = 0; o < rows; o++)
		for (g = 0; g < n; g++) {
			wrong += sq_float_get(scales, w->part[1].type,
			    o * n + g) != 1.0f / (float)(8u << (o + g) % 4);
			wrong += zeros != NULL && zeros[o * n + g] !=
			    1 + (o + 2 * g + m) % mod;
		}
	ck_assert_uint_eq(wrong, 0);
	ck_assert(zeros == NULL || !w->symmetric);
	free(codes);
	free(zeros);
	free(scales);
}

/* What the name of a vector says of its tensors. */
static void
form_is(const char *vector, const struct sq_tensor *t)
{
	const char *digit = vector + strlen(vector) - 1;

	if (strstr(vector, "fp8") != NULL)
		ck_assert_int_eq(t->grid, SQ_FP8_E4M3);
	else if (strstr(vector, "mxfp4") != NULL)
		ck_assert_int_eq(t->grid, SQ_MXFP4);
	else if (*digit >= '2' && *digit <= '8') {
		ck_assert_int_eq(t->grid, sq_grid_of_bits(*digit - '0'));
		ck_assert_int_eq(t->symmetric, strstr(vector, "uint") == NULL);
	}
}

static void
good(const char *vector)
{
	char err[SQ_ERR] = "";
	struct sq_source *s;
	int m, found = 0;
	size_t i;

	unpack("good", vector);
	s = sq_source_open(dir, err);
	ck_assert_msg(s != NULL, "%s: %s", vector, err);
	for (i = 0; i < s->n; i++) {
		if ((m = module_of(s->tensor[i].t.name)) < 0)
			continue;
		form_is(vector, &s->tensor[i].t);
		tensor_is(s, &s->tensor[i], (unsigned)m);
		found++;
	}
	ck_assert_int_eq(found, 7);
	ck_assert_uint_eq(s->n, 11);	/* nothing is left over */
	sq_source_close(s);
}

START_TEST(good_vectors)
{
	DIR *d = opendir(VECTORS "/good");
	struct dirent *e;
	int n = 0;

	ck_assert_ptr_nonnull(d);
	while ((e = readdir(d)) != NULL)
		if (e->d_name[0] != '.') {
			good(e->d_name);
			n++;
		}
	closedir(d);
	ck_assert_int_ge(n, 41);
}
END_TEST

/* Opens it and makes every part: the reason, or NULL. */
static const char *
failure(char *err)
{
	struct sq_source *s = sq_source_open(dir, err);
	const char *why = NULL;
	size_t i;
	int p;

	if (s == NULL)
		return err;
	for (i = 0; i < s->n; i++)
		for (p = 0; p < s->tensor[i].t.nparts; p++)
			if (sq_source_map(s, &s->tensor[i], p, err) == NULL)
				why = err;
	sq_source_close(s);
	return why;
}

START_TEST(bad_vectors)
{
	FILE *f = fopen(VECTORS "/bad/EXPECT", "r");
	char line[256], err[SQ_ERR], *want;
	const char *why;
	int n = 0;

	ck_assert_ptr_nonnull(f);
	while (fgets(line, sizeof(line), f) != NULL) {
		line[strcspn(line, "\n")] = '\0';
		want = strchr(line, '\t');
		ck_assert_ptr_nonnull(want);
		*want++ = '\0';
		unpack("bad", line);
		why = failure(err);
		ck_assert_msg(why != NULL, "%s is taken", line);
		ck_assert_msg(strstr(why, want) != NULL, "%s: '%s', not '%s'",
		    line, why, want);
		n++;
	}
	fclose(f);
	ck_assert_int_ge(n, 43);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("quantized");
	TCase *tc = tcase_create("all");
	SRunner *sr;
	int failed;

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, good_vectors);
	tcase_add_test(tc, bad_vectors);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
