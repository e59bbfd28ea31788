/* lib/base/tensor and formats/fmt_tensor: layouts, checks, descriptions. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/tensor.h"
#include "formats/fmt_json.h"
#include "formats/fmt_stream.h"
#include "tests/formats/grid_cases.h"

static char err[SQ_ERR];

/* A case as a tensor without parts, and what to lay it out with. */
static enum sq_dtype
tensor_of(const struct grid_case *c, struct sq_tensor *t, int *mask)
{
	struct grid_part part[8];
	enum sq_dtype scale = SQ_F16;
	int i, n = grid_parts(c, part);

	memset(t, 0, sizeof(*t));
	strcpy(t->name, "a.weight");
	t->type = (enum sq_dtype)sq_dtype_find(c->dtype);
	t->ndim = c->ndim;
	memcpy(t->dim, c->dim, sizeof(t->dim));
	t->grid = (enum sq_grid)sq_grid_find(c->grid);
	t->group_rows = c->group[0];
	t->group_cols = c->group[1];
	t->symmetric = c->symmetric != NULL && c->symmetric[0] == 't';
	*mask = 0;
	for (i = 0; i < n; i++) {
		if (strcmp(part[i].name, "mask") == 0)
			*mask = 1;
		if (strcmp(part[i].name, "scales") == 0)
			scale = (enum sq_dtype)sq_dtype_find(part[i].type);
	}
	return scale;
}

static void
laid_out(const struct grid_case *c, struct sq_tensor *t)
{
	int mask;
	enum sq_dtype scale = tensor_of(c, t, &mask);

	sq_tensor_layout(t, scale, mask);
}

static json_t *
parsed(const char *text)
{
	json_t *o = sq_json_object(text, strlen(text), err);

	ck_assert_msg(o != NULL, "%s in %s", err, text);
	return o;
}

START_TEST(layouts)
{
	const struct grid_case *c = &grid_cases[_i];
	struct grid_part part[8];
	struct sq_tensor t;
	int i, n = grid_parts(c, part);

	laid_out(c, &t);
	ck_assert_int_eq(t.nparts, n);
	for (i = 0; i < n; i++) {
		ck_assert_str_eq(t.part[i].name, part[i].name);
		ck_assert_str_eq(sq_dtype_name(t.part[i].type), part[i].type);
		ck_assert_uint_eq(t.part[i].offset, part[i].offset);
		ck_assert_uint_eq(t.part[i].length, part[i].length);
	}
	ck_assert_uint_eq(t.length, grid_length(c));
	ck_assert_msg(sq_tensor_check(&t, err) == 0, "%s", err);
}
END_TEST

START_TEST(descriptions)
{
	const struct grid_case *c = &grid_cases[_i];
	struct sq_tensor t, u;
	char text[4096], *again;
	json_t *o;

	grid_json(c, "a.weight", text, sizeof(text));
	o = parsed(text);
	ck_assert_msg(sq_tensor_parse(&t, o, grid_length(c), err) == 0, "%s",
	    err);
	json_decref(o);
	laid_out(c, &u);
	ck_assert_mem_eq(&t, &u, sizeof(t));
	o = sq_tensor_describe(&t);
	again = sq_json_text(o);
	ck_assert_str_eq(again, text);
	free(again);
	json_decref(o);
}
END_TEST

/* Whatever is a byte or a number off is refused. */
START_TEST(near_misses)
{
	const struct grid_case *c = &grid_cases[_i];
	struct sq_tensor good, t;
	int i;

	laid_out(c, &good);
	for (i = 0; i < good.nparts; i++) {
		t = good;
		t.part[i].offset += 64;
		ck_assert_int_lt(sq_tensor_check(&t, err), 0);
		t = good;
		t.part[i].length++;
		ck_assert_int_lt(sq_tensor_check(&t, err), 0);
		t = good;
		t.part[i].length--;
		ck_assert_int_lt(sq_tensor_check(&t, err), 0);
		t.length--;
		ck_assert_int_lt(sq_tensor_check(&t, err), 0);
		t = good;
		t.part[i].type = SQ_I16;
		ck_assert_int_lt(sq_tensor_check(&t, err), 0);
		t = good;
		t.part[i].name[0] ^= 1;
		ck_assert_int_lt(sq_tensor_check(&t, err), 0);
		t = good;
		t.part[i].length = UINT64_MAX;
		ck_assert_int_lt(sq_tensor_check(&t, err), 0);
	}
	t = good;
	t.length++;
	ck_assert_int_lt(sq_tensor_check(&t, err), 0);
	t = good;
	t.nparts--;
	ck_assert_int_lt(sq_tensor_check(&t, err), 0);
	t.length = t.nparts == 0 ? 0 : t.part[t.nparts - 1].offset +
	    t.part[t.nparts - 1].length;
	if (strcmp(good.part[t.nparts].name, "mask") != 0)
		ck_assert_int_lt(sq_tensor_check(&t, err), 0);
	for (i = 0; i < good.ndim; i++) {
		t = good;
		t.dim[i] += 8;
		ck_assert_int_lt(sq_tensor_check(&t, err), 0);
		t.dim[i] = 0;
		ck_assert_int_lt(sq_tensor_check(&t, err), 0);
		t.dim[i] = UINT64_MAX;
		ck_assert_int_lt(sq_tensor_check(&t, err), 0);
	}
	t = good;
	t.ndim = 0;
	ck_assert_int_lt(sq_tensor_check(&t, err), 0);
	t.ndim = 9;
	ck_assert_int_lt(sq_tensor_check(&t, err), 0);
	if (good.grid == SQ_DENSE)
		return;
	t = good;
	t.group_rows = 0;
	ck_assert_int_lt(sq_tensor_check(&t, err), 0);
	t = good;
	t.group_cols = 0;
	ck_assert_int_lt(sq_tensor_check(&t, err), 0);
	t = good;
	t.group_cols = t.dim[1] + 1;
	ck_assert_int_lt(sq_tensor_check(&t, err), 0);
	t = good;
	t.group_rows = t.dim[0] + 1;
	ck_assert_int_lt(sq_tensor_check(&t, err), 0);
	t = good;
	t.type = SQ_I8;
	ck_assert_int_lt(sq_tensor_check(&t, err), 0);
	t = good;
	t.symmetric = !t.symmetric;
	if (sq_grid_is_int(t.grid))
		ck_assert_int_lt(sq_tensor_check(&t, err), 0);
}
END_TEST

START_TEST(data)
{
	const struct grid_case *c = &grid_cases[_i];
	struct grid_part part[8];
	struct sq_tensor t;
	unsigned char *p = malloc(grid_length(c)), was;
	int i, n = grid_parts(c, part);
	uint64_t at, end = 0;

	laid_out(c, &t);
	grid_fill(c, p);
	ck_assert_msg(sq_tensor_check_data(&t, p, err) == 0, "%s", err);
	for (i = 0; i < n; i++) {
		for (at = end; at < part[i].offset; at++) {
			p[at] = 1;
			ck_assert_int_lt(sq_tensor_check_data(&t, p, err), 0);
			p[at] = 0;
		}
		end = part[i].offset + part[i].length;
		was = p[end - 1];
		p[end - 1] = 0xff;
		if (strcmp(part[i].type, "BITS") == 0) {
			if (strncmp(c->grid, "fp8", 3) == 0 ||
			    (was & 0xf0) == 0)
				ck_assert_int_lt(sq_tensor_check_data(&t, p,
				    err), 0);
		} else if (strcmp(part[i].name, "data") == 0 ||
		    strcmp(part[i].name, "zeros") == 0 ||
		    strcmp(part[i].type, "I8") == 0) {
			ck_assert_int_eq(sq_tensor_check_data(&t, p, err), 0);
		} else {
			p[end - 2] = 0xff;
			ck_assert_int_lt(sq_tensor_check_data(&t, p, err), 0);
			grid_fill(c, p);
		}
		p[end - 1] = was;
	}
	free(p);
}
END_TEST

START_TEST(finite_values)
{
	static const struct { enum sq_dtype type; uint32_t bits; int ok; }
	v[] = {
		{ SQ_F16, 0x7bff, 1 }, { SQ_F16, 0x7c00, 0 },
		{ SQ_F16, 0xfc00, 0 }, { SQ_F16, 0x7c01, 0 },
		{ SQ_BF16, 0x7f7f, 1 }, { SQ_BF16, 0x7f80, 0 },
		{ SQ_BF16, 0xff80, 0 }, { SQ_BF16, 0x7f81, 0 },
		{ SQ_F32, 0x7f7fffff, 1 }, { SQ_F32, 0x7f800000, 0 },
		{ SQ_F32, 0xff800000, 0 }, { SQ_F32, 0x7f800001, 0 },
		{ SQ_F8_E8M0, 254, 1 }, { SQ_F8_E8M0, 255, 0 },
		{ SQ_F8_E8M0, 0, 1 },
	};
	struct sq_tensor t = { .name = "a", .type = SQ_BF16, .ndim = 2,
	    .dim = { 1, 8 }, .grid = SQ_INT4, .group_rows = 1,
	    .group_cols = 8, .symmetric = 1 };
	unsigned char p[128];
	size_t i;
	int b;

	for (i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
		sq_tensor_layout(&t, v[i].type, 0);
		memset(p, 0, sizeof(p));
		for (b = 0; b < 4; b++)
			p[64 + b] = (unsigned char)(v[i].bits >> 8 * b);
		ck_assert_msg((sq_tensor_check_data(&t, p, err) == 0) ==
		    v[i].ok, "%s %x", sq_dtype_name(v[i].type), v[i].bits);
	}
	t.grid = SQ_FP8_E4M3;
	sq_tensor_layout(&t, SQ_F32, 0);
	for (b = 0; b < 256; b++) {
		memset(p, 0, sizeof(p));
		p[3] = (unsigned char)b;
		t.grid = SQ_FP8_E4M3;
		ck_assert_int_eq(sq_tensor_check_data(&t, p, err) == 0,
		    (b & 0x7f) != 0x7f);
		t.grid = SQ_FP8_E5M2;
		ck_assert_int_eq(sq_tensor_check_data(&t, p, err) == 0,
		    (b & 0x7f) < 0x7c);
	}
}
END_TEST

/* Groups that a grid does not have. */
START_TEST(grid_groups)
{
	static const struct { const char *grid; uint64_t c, gr, gc; } v[] = {
		{ "mxfp4", 64, 1, 16 }, { "mxfp4", 64, 2, 32 },
		{ "mxfp4", 16, 1, 16 }, { "iq4_nl", 64, 1, 64 },
		{ "q4_k", 256, 1, 16 }, { "q4_k", 128, 1, 32 },
		{ "q5_k", 320, 1, 32 }, { "q6_k", 256, 1, 32 },
		{ "q6_k", 272, 1, 16 }, { "q6_k", 256, 2, 16 },
		{ "iq4_xs", 256, 1, 64 }, { "iq4_xs", 320, 1, 32 },
	};
	struct sq_tensor t = { .name = "a", .type = SQ_BF16, .ndim = 2 };
	size_t i;

	for (i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
		t.dim[0] = 2;
		t.dim[1] = v[i].c;
		t.grid = (enum sq_grid)sq_grid_find(v[i].grid);
		t.group_rows = v[i].gr;
		t.group_cols = v[i].gc;
		sq_tensor_layout(&t, t.grid == SQ_MXFP4 ? SQ_F8_E8M0 : SQ_F16,
		    0);
		ck_assert_msg(sq_tensor_check(&t, err) < 0, "%zu", i);
	}
}
END_TEST

START_TEST(bounds)
{
	struct sq_tensor t = { .name = "a", .type = SQ_BF16, .ndim = 2,
	    .dim = { (uint64_t)1 << 12, (uint64_t)1 << 32 } };

	sq_tensor_layout(&t, SQ_F16, 1);
	ck_assert_uint_eq(t.part[0].length, (uint64_t)1 << 45);
	ck_assert_msg(sq_tensor_check(&t, err) == 0, "%s", err);
	t.dim[0] = ((uint64_t)1 << 12) + 1;
	sq_tensor_layout(&t, SQ_F16, 1);
	ck_assert_int_lt(sq_tensor_check(&t, err), 0);
	t.dim[0] = 1;
	t.dim[1] = ((uint64_t)1 << 32) + 1;
	sq_tensor_layout(&t, SQ_F16, 1);
	ck_assert_int_lt(sq_tensor_check(&t, err), 0);
	t.dim[1] = 4;
	t.type = SQ_BITS;
	sq_tensor_layout(&t, SQ_F16, 0);
	ck_assert_int_lt(sq_tensor_check(&t, err), 0);
}
END_TEST

START_TEST(names)
{
	char s[300];
	int c;

	ck_assert(sq_name_ok("model.layers.0.self_attn.q_proj.weight"));
	ck_assert(sq_name_ok("a:b@c+d-e_f") && sq_name_ok("0"));
	ck_assert(!sq_name_ok("") && !sq_name_ok(".a") && !sq_name_ok("-a"));
	for (c = 1; c < 256; c++) {
		s[0] = 'a';
		s[1] = (char)c;
		s[2] = '\0';
		ck_assert_int_eq(sq_name_ok(s), strchr("abcdefghijklmnopqrstuv"
		    "wxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.:@+-", c) !=
		    NULL);
		ck_assert_int_eq(sq_blob_name_ok(s), strchr("abcdefghijklmnopq"
		    "rstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-", c) !=
		    NULL);
	}
	memset(s, 'a', sizeof(s));
	s[255] = '\0';
	ck_assert(sq_name_ok(s) && sq_blob_name_ok(s));
	s[255] = 'a';
	s[256] = '\0';
	ck_assert(!sq_name_ok(s) && !sq_blob_name_ok(s));
}
END_TEST

#define TENSOR(rest)	"{\"name\":\"a\",\"dtype\":\"F32\"," rest "}"
#define PART		"{\"part\":\"data\",\"dtype\":\"F32\",\"offset\":0," \
			"\"length\":4}"

/* Descriptions that lie, or are of other types than they should be. */
START_TEST(lies)
{
	static const char *const bad[] = {
		"{}", TENSOR("\"shape\":[1],\"grid\":\"dense\""),
		TENSOR("\"shape\":[1],\"parts\":[" PART "]"),
		TENSOR("\"grid\":\"dense\",\"parts\":[" PART "]"),
		TENSOR("\"shape\":[],\"grid\":\"dense\",\"parts\":[" PART "]"),
		TENSOR("\"shape\":[2],\"grid\":\"dense\",\"parts\":[" PART "]"),
		TENSOR("\"shape\":[-1],\"grid\":\"dense\",\"parts\":[" PART
		    "]"),
		TENSOR("\"shape\":[1.0],\"grid\":\"dense\",\"parts\":[" PART
		    "]"),
		TENSOR("\"shape\":[\"1\"],\"grid\":\"dense\",\"parts\":[" PART
		    "]"),
		TENSOR("\"shape\":1,\"grid\":\"dense\",\"parts\":[" PART "]"),
		TENSOR("\"shape\":[1,1,1,1,1,1,1,1,1],\"grid\":\"dense\","
		    "\"parts\":[" PART "]"),
		TENSOR("\"shape\":[4294967296,4294967296,4294967296,"
		    "4294967296,4294967296,4294967296,4294967296,1],"
		    "\"grid\":\"dense\",\"parts\":[" PART "]"),
		TENSOR("\"shape\":[1],\"grid\":\"dense\",\"parts\":[]"),
		TENSOR("\"shape\":[1],\"grid\":\"dense\",\"parts\":[1]"),
		TENSOR("\"shape\":[1],\"grid\":\"dense\",\"parts\":" PART),
		TENSOR("\"shape\":[1],\"grid\":1,\"parts\":[" PART "]"),
		TENSOR("\"shape\":[1],\"grid\":\"other\",\"parts\":[" PART ","
		    PART "]"),
		TENSOR("\"shape\":[1],\"grid\":\"other\",\"parts\":[{\"part\":"
		    "\"a/b\",\"dtype\":\"F32\",\"offset\":0,\"length\":4}]"),
		TENSOR("\"shape\":[1],\"grid\":\"other\",\"parts\":[{\"part\":"
		    "\"\",\"dtype\":\"F32\",\"offset\":0,\"length\":4}]"),
		TENSOR("\"shape\":[1],\"grid\":\"other\",\"parts\":[{\"part\":"
		    "\"0123456789abcdef\",\"dtype\":\"F32\",\"offset\":0,"
		    "\"length\":4}]"),
		TENSOR("\"shape\":[1,1],\"grid\":\"int4\",\"group\":[1,1],"
		    "\"parts\":[" PART "]"),
		TENSOR("\"shape\":[1,1],\"grid\":\"int4\",\"group\":[1],"
		    "\"symmetric\":true,\"parts\":[" PART "]"),
		TENSOR("\"shape\":[1,1],\"grid\":\"int4\","
		    "\"symmetric\":true,\"parts\":[" PART "]"),
		TENSOR("\"shape\":[1,1],\"grid\":\"int4\",\"group\":[1,1],"
		    "\"symmetric\":1,\"parts\":[" PART "]"),
		TENSOR("\"shape\":[1],\"grid\":\"dense\",\"parts\":[{\"part\":"
		    "\"data\",\"dtype\":\"F32\",\"offset\":-1,\"length\":4}]"),
		TENSOR("\"shape\":[1],\"grid\":\"dense\",\"parts\":[{\"part\":"
		    "\"data\",\"dtype\":\"F32\",\"offset\":0,"
		    "\"length\":9223372036854775807}]"),
		TENSOR("\"shape\":[1],\"grid\":\"dense\",\"parts\":[{\"part\":"
		    "\"data\",\"dtype\":\"X32\",\"offset\":0,\"length\":4}]"),
		"{\"name\":\"a b\",\"dtype\":\"F32\",\"shape\":[1],"
		    "\"grid\":\"dense\",\"parts\":[" PART "]}",
		"{\"name\":\"a\",\"dtype\":\"BITS\",\"shape\":[1],"
		    "\"grid\":\"dense\",\"parts\":[" PART "]}",
		"{\"name\":\"a\",\"dtype\":32,\"shape\":[1],"
		    "\"grid\":\"dense\",\"parts\":[" PART "]}",
		"{\"name\":null,\"dtype\":\"F32\",\"shape\":[1],"
		    "\"grid\":\"dense\",\"parts\":[" PART "]}",
	};
	static const char *const good[] = {
		TENSOR("\"shape\":[1],\"grid\":\"dense\",\"parts\":[" PART "]"),
		TENSOR("\"shape\":[1,1,1,1,1,1,1,1],\"grid\":\"dense\","
		    "\"new\":{},\"parts\":[" PART "]"),
		TENSOR("\"shape\":[7],\"grid\":\"other\",\"parts\":[" PART "]"),
		TENSOR("\"shape\":[7],\"grid\":\"other\",\"group\":\"x\","
		    "\"parts\":[" PART "]"),
	};
	struct sq_tensor t;
	json_t *o;
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		o = parsed(bad[i]);
		ck_assert_msg(sq_tensor_parse(&t, o, 4, err) < 0, "%s",
		    bad[i]);
		json_decref(o);
	}
	for (i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		o = parsed(good[i]);
		ck_assert_msg(sq_tensor_parse(&t, o, 4, err) == 0, "%s", err);
		ck_assert_int_lt(sq_tensor_parse(&t, o, 5, err), 0);
		json_decref(o);
	}
	ck_assert_int_eq(t.grid, SQ_GRIDS);
	ck_assert_ptr_null(sq_tensor_describe(&t));
}
END_TEST

START_TEST(sides)
{
	struct sq_tensor t = { .ndim = 3, .dim = { 2, 3, 5 },
	    .group_rows = 4, .group_cols = 3 };

	ck_assert_uint_eq(sq_tensor_count(&t), 30);
	ck_assert_uint_eq(sq_tensor_rows(&t), 6);
	ck_assert_uint_eq(sq_tensor_cols(&t), 5);
	ck_assert_uint_eq(sq_tensor_group_rows(&t), 2);
	ck_assert_uint_eq(sq_tensor_group_cols(&t), 2);
	t.ndim = 1;
	ck_assert_uint_eq(sq_tensor_rows(&t), 1);
	ck_assert_uint_eq(sq_tensor_cols(&t), 2);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("tensor");
	TCase *tc = tcase_create("all");
	SRunner *sr;
	int failed;

	tcase_add_loop_test(tc, layouts, 0, GRID_CASES);
	tcase_add_loop_test(tc, descriptions, 0, GRID_CASES);
	tcase_add_loop_test(tc, near_misses, 0, GRID_CASES);
	tcase_add_loop_test(tc, data, 0, GRID_CASES);
	tcase_add_test(tc, finite_values);
	tcase_add_test(tc, grid_groups);
	tcase_add_test(tc, bounds);
	tcase_add_test(tc, names);
	tcase_add_test(tc, lies);
	tcase_add_test(tc, sides);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
