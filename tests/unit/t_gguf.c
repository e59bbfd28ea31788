/* GGUF: what is read, what is refused and why; blocks of every type. */
#include <check.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "formats/fmt_gguf.h"
#include "kernels/kern.h"
#include "model/gguf_names.h"
#include "model/weight.h"

#define VECTORS	"tests/formats/gguf"

static char err[SQ_ERR];

/* ---- files ---- */

START_TEST(good_vectors)
{
	struct sq_gguf *g = sq_gguf_open(VECTORS "/good/v3.gguf", err);
	const struct sq_gguf_kv *kv;
	const uint8_t *at = NULL;
	struct sq_gguf_str s;
	uint64_t u = 0;
	double d = 0;
	int b = 0;

	ck_assert_msg(g != NULL, "%s", err);
	ck_assert_int_eq(g->n, 5);
	ck_assert_str_eq(g->tensor[2].name, "q");
	ck_assert_int_eq(g->tensor[2].ndim, 2);
	ck_assert_int_eq(g->tensor[2].dim[0], 3);
	ck_assert_int_eq(g->tensor[2].dim[1], 64);
	ck_assert_int_eq(g->tensor[2].kind->type, SQ_GGUF_Q4_0);
	ck_assert_int_eq(g->tensor[2].length, 3 * 2 * 18);
	ck_assert_int_eq(g->map[g->tensor[2].offset], 14);
	ck_assert_int_eq(sq_gguf_uint(g, "a.u8", &u), 0);
	ck_assert_int_eq(u, 200);
	ck_assert_int_eq(sq_gguf_uint(g, "a.u64", &u), 0);
	ck_assert(u == (uint64_t)1 << 40);
	ck_assert_int_eq(sq_gguf_uint(g, "a.i8", &u), -1);
	ck_assert_int_eq(sq_gguf_uint(g, "a.i32", &u), -1);
	ck_assert_int_eq(sq_gguf_uint(g, "a.f32", &u), -1);
	ck_assert_int_eq(sq_gguf_uint(g, "a.strings", &u), -1);
	ck_assert_int_eq(sq_gguf_real(g, "a.f32", &d), 0);
	ck_assert(d == 0.5);
	ck_assert_int_eq(sq_gguf_real(g, "a.f64", &d), 0);
	ck_assert(d == 0.25);
	ck_assert_int_eq(sq_gguf_real(g, "a.u8", &d), -1);
	ck_assert_int_eq(sq_gguf_bool(g, "a.bool", &b), 0);
	ck_assert_int_eq(b, 1);
	ck_assert_int_eq(sq_gguf_string(g, "general.architecture", &s), 0);
	ck_assert(s.n == 4 && memcmp(s.p, "none", 4) == 0);
	kv = sq_gguf_find(g, "a.strings");
	ck_assert_int_eq(kv->n, 3);
	ck_assert_int_eq(sq_gguf_next(kv, &at).n, 1);
	ck_assert_int_eq(sq_gguf_next(kv, &at).n, 0);
	s = sq_gguf_next(kv, &at);
	ck_assert(s.n == 2 && memcmp(s.p, "yz", 2) == 0);
	ck_assert(sq_gguf_f32(sq_gguf_find(g, "a.floats"), 1) == 2);
	ck_assert_ptr_null(sq_gguf_find(g, "a.u"));
	sq_gguf_close(g);
}
END_TEST

START_TEST(other_good)
{
	static const char *const names[] = { "v2", "align", "padded", "empty" };
	char path[128];
	struct sq_gguf *g;
	size_t i;

	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(path, sizeof(path), VECTORS "/good/%s.gguf",
		    names[i]);
		g = sq_gguf_open(path, err);
		ck_assert_msg(g != NULL, "%s", err);
		if (strcmp(names[i], "align") == 0)
			ck_assert_int_eq(g->tensor[1].offset -
			    g->tensor[0].offset, 64);
		sq_gguf_close(g);
	}
}
END_TEST

/* EXPECT has a line for each bad vector: its name, a tab, a part of why. */
START_TEST(bad_vectors)
{
	FILE *f = fopen(VECTORS "/bad/EXPECT", "r");
	DIR *d = opendir(VECTORS "/bad");
	char line[256], path[512], *why;
	int n = 0, files = 0;
	struct sq_gguf *g;
	struct dirent *e;

	ck_assert(f != NULL && d != NULL);
	while (fgets(line, sizeof(line), f) != NULL) {
		line[strcspn(line, "\n")] = '\0';
		why = strchr(line, '\t');
		ck_assert_ptr_nonnull(why);
		*why++ = '\0';
		snprintf(path, sizeof(path), VECTORS "/bad/%s", line);
		g = sq_gguf_open(path, err);
		ck_assert_msg(g == NULL, "%s was taken", line);
		ck_assert_msg(strstr(err, why) != NULL, "%s: %s", line, err);
		n++;
	}
	fclose(f);
	while ((e = readdir(d)) != NULL)
		files += e->d_name[0] != '.';
	closedir(d);
	ck_assert_int_eq(n + 1, files);
	ck_assert_int_ge(n, 30);
}
END_TEST

/* A good file cut anywhere is refused, or was cut after its last tensor. */
START_TEST(truncated)
{
	char path[] = "/tmp/t_gguf.XXXXXX";
	uint8_t all[4096];
	FILE *f = fopen(VECTORS "/good/v3.gguf", "r");
	size_t n = fread(all, 1, sizeof(all), f), i;
	struct sq_gguf *g;
	int fd = mkstemp(path);

	fclose(f);
	ck_assert(n > 500 && n < sizeof(all) && fd >= 0);
	for (i = 0; i < n; i++) {
		ck_assert_int_eq(ftruncate(fd, 0), 0);
		ck_assert_int_eq(pwrite(fd, all, i, 0), (ssize_t)i);
		g = sq_gguf_open(path, err);
		ck_assert_msg(g == NULL, "%zu of %zu bytes", i, n);
	}
	close(fd);
	unlink(path);
}
END_TEST

/* ---- blocks ---- */

/* What ggml makes of blocks, bit for bit: lines "TYPE hex", "DTYPE bits...". */
static size_t
read_hex(const char *s, uint8_t *p)
{
	size_t n = 0;
	unsigned v;

	for (; sscanf(s, "%2x", &v) == 1; s += 2)
		p[n++] = (uint8_t)v;
	return n;
}

static void
check_values(const struct sq_gguf_kind *k, const uint8_t *blocks,
    const char *text)
{
	struct sq_tensor t = { .name = "w", .type = SQ_F16, .ndim = 2,
	    .dim = { 1, 256 } };
	uint8_t *part[SQ_PARTS], payload[2048] = { 0 }, again[2048];
	const struct sq_kern *kern;
	const char *const *level;
	struct sq_weight w;
	struct sq_ctx ctx;
	float got[256];
	struct sq_mat m = { got, SQ_F32, 1, 256, 256 };
	uint32_t want, bits;
	int i;

	sq_gguf_describe(k, &t);
	ck_assert_msg(sq_tensor_check(&t, err) == 0, "%s", err);
	for (i = 0; i < t.nparts; i++)
		part[i] = payload + t.part[i].offset;
	ck_assert_int_eq(sq_gguf_row_get(k, blocks, 256, part), 0);
	ck_assert_msg(sq_tensor_check_data(&t, payload, err) == 0, "%s", err);
	sq_gguf_row_put(k, again, 256, (const uint8_t *const *)part);
	ck_assert_mem_eq(again, blocks, sq_gguf_row_bytes(k, 256));
	ck_assert_int_eq(sq_weight_init(&w, &t, payload, err), 0);
	for (level = sq_kern_levels(); *level != NULL; level++) {
		if ((kern = sq_kern_find(*level, err)) == NULL)
			continue;
		ck_assert_int_eq(sq_ctx_init(&ctx, kern, NULL), 0);
		ck_assert_int_eq(sq_dequantize(&ctx, &w, 0, &m), 0);
		sq_ctx_release(&ctx);
		for (i = 0; i < 256; i++) {
			const char *s = text + 9 * i;

			ck_assert_int_eq(sscanf(s, "%8x", &want), 1);
			memcpy(&bits, &got[i], 4);
			ck_assert_msg(bits == want, "%s, %s, value %d: %08x "
			    "instead of %08x", k->name, *level, i, bits, want);
		}
	}
}

START_TEST(values_of_ggml)
{
	FILE *f = fopen(VECTORS "/values.txt", "r");
	const struct sq_gguf_kind *k = NULL;
	static char line[8192];
	uint8_t blocks[2048];
	char *space;
	int n = 0;

	ck_assert_ptr_nonnull(f);
	while (fgets(line, sizeof(line), f) != NULL) {
		space = strchr(line, ' ');
		ck_assert_ptr_nonnull(space);
		*space++ = '\0';
		if (line[0] == 'D') {
			ck_assert_str_eq(line + 1, k->name);
			check_values(k, blocks, space);
			n++;
			continue;
		}
		k = sq_gguf_kind_find(line);
		ck_assert_msg(k != NULL, "%s", line);
		ck_assert_int_eq(read_hex(space, blocks),
		    sq_gguf_row_bytes(k, 256));
	}
	fclose(f);
	ck_assert_int_eq(n, 9);
}
END_TEST

/* Any bytes come back, but for scales that are not finite. */
START_TEST(any_block)
{
	static const uint32_t types[] = { SQ_GGUF_Q8_0, SQ_GGUF_Q4_0,
	    SQ_GGUF_Q4_1, SQ_GGUF_Q5_0, SQ_GGUF_Q5_1, SQ_GGUF_Q4_K,
	    SQ_GGUF_Q5_K, SQ_GGUF_Q6_K, SQ_GGUF_IQ4_NL, SQ_GGUF_IQ4_XS,
	    SQ_GGUF_MXFP4 };
	uint8_t in[256], out[256], payload[1024], *part[SQ_PARTS];
	struct sq_tensor t = { .name = "w", .type = SQ_F16, .ndim = 2 };
	const struct sq_gguf_kind *k;
	uint32_t x = 1;
	size_t i, j;
	int n, p, taken;

	for (i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		k = sq_gguf_kind(types[i]);
		t.dim[0] = 1;
		t.dim[1] = k->cols;
		sq_gguf_describe(k, &t);
		for (p = 0; p < t.nparts; p++)
			part[p] = payload + t.part[p].offset;
		for (n = taken = 0; n < 200; n++) {
			for (j = 0; j < k->bytes; j++)
				in[j] = (uint8_t)((x = x * 1664525u +
				    1013904223u) >> 24);
			memset(payload, 0, sizeof(payload));
			if (sq_gguf_row_get(k, in, k->cols, part) < 0)
				continue;
			ck_assert_msg(sq_tensor_check_data(&t, payload,
			    err) == 0, "%s: %s", k->name, err);
			sq_gguf_row_put(k, out, k->cols,
			    (const uint8_t *const *)part);
			ck_assert_msg(memcmp(in, out, k->bytes) == 0, "%s",
			    k->name);
			taken++;
		}
		ck_assert_int_ge(taken, 150);
	}
}
END_TEST

/* Rows of a head: 0 4 1 5 2 6 3 7 for heads of 8. */
START_TEST(row_order)
{
	static const uint64_t want[] = { 0, 4, 1, 5, 2, 6, 3, 7 };
	uint64_t i;

	for (i = 0; i < 24; i++) {
		ck_assert_int_eq(sq_gguf_row_of(i, 24, 3),
		    i / 8 * 8 + want[i % 8]);
		ck_assert_int_eq(sq_gguf_row(sq_gguf_row_of(i, 24, 3), 24, 3),
		    i);
		ck_assert_int_eq(sq_gguf_row(i, 24, 0), i);
	}
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("gguf");
	TCase *c = tcase_create("gguf");
	SRunner *r;
	int failed;

	tcase_add_test(c, good_vectors);
	tcase_add_test(c, other_good);
	tcase_add_test(c, bad_vectors);
	tcase_add_test(c, truncated);
	tcase_add_test(c, values_of_ggml);
	tcase_add_test(c, any_block);
	tcase_add_test(c, row_order);
	suite_add_tcase(s, c);
	r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
