/* lib/schema: profiles as they are read, looked up and written; engines. */
#include <check.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/mask_seen.h"
#include "model/scale_range.h"
#include "schema/lint.h"
#include "schema/profile.h"

#define VECTORS	"tests/formats/profile"

static char err[SQ_ERR];

static struct sq_profile
good(const char *name)
{
	struct sq_profile p;

	ck_assert_msg(sq_profile_load(&p, name, err) == 0, "%s: %s", name,
	    err);
	return p;
}

static struct sq_profile
text(const char *t)
{
	struct sq_profile p;

	ck_assert_msg(sq_profile_parse(&p, "t", t, strlen(t), err) == 0, "%s",
	    err);
	return p;
}

#define BITS(w, a, k)							\
	"weight_bits: " #w "\nactivation_bits: " #a			\
	"\nkv_bits_prefill: " #k "\nkv_bits_decode: " #k "\n"

/* What the specification leaves open is what it says, and 16 bits. */
START_TEST(defaults)
{
	struct sq_profile p = good(VECTORS "/good/least.yaml");

	ck_assert_uint_eq(p.weight_bits, 4);
	ck_assert_double_eq(p.sparsity_ratio, 0);
	ck_assert_int_eq(p.sparsity_pattern, SQ_SPARSE_NONE);
	ck_assert_str_eq(sq_profile_backends[p.kernel_backend], "cuda");
	ck_assert_uint_eq(p.calibration_samples, 512);
	ck_assert_uint_eq(p.max_sequence_length, 8192);
	ck_assert_int_eq(p.rule.format, SQ_WF_INT);
	ck_assert_int_eq(p.rule.bits, 4);
	ck_assert_uint_eq(p.rule.group_cols, 128);
	ck_assert_int_eq(p.rule.symmetric, 1);
	ck_assert_double_eq(p.accuracy_limit, 0.05);
	sq_profile_release(&p);

	p = text(BITS(8, 8, 4));
	ck_assert_int_eq(p.rule.bits, 8);
	ck_assert_uint_eq(p.rule.group_cols, 0);
	ck_assert_int_eq(p.activation.format, SQ_WF_INT);
	ck_assert_int_eq(p.activation.dynamic, 1);
	ck_assert_int_eq(p.kv.format, SQ_KV_INT4);
	ck_assert_int_eq(p.kv.hadamard, 1);
	ck_assert_uint_eq(p.kv.sink, 4);
	ck_assert_uint_eq(p.kv.window, 128);
	sq_profile_release(&p);

	p = text(BITS(8, 8, 8) "extensions:\n  format: fp8\n");
	ck_assert_int_eq(p.rule.format, SQ_WF_FP8_E4M3);
	ck_assert_int_eq(p.activation.format, SQ_WF_FP8_E4M3);
	ck_assert_int_eq(p.kv.format, SQ_KV_FP8_E4M3);
	sq_profile_release(&p);
}
END_TEST

static const struct sq_profile_rule *
rule(const struct sq_profile *p, const char *name, int linear)
{
	return sq_profile_find(p, name, linear, NULL);
}

#define L0	"model.layers.0."

/* The first match counts, and takes over what it does not say. */
START_TEST(overrides)
{
	struct sq_profile p = good(VECTORS "/good/all.yaml");
	const struct sq_profile_override *over;
	const struct sq_profile_rule *r;

	r = rule(&p, L0 "mlp.up_proj.weight", 1);
	ck_assert(r == &p.rule && r->bits == 3 && !r->symmetric);
	ck_assert_int_eq(sq_profile_grid(r), SQ_INT3);
	r = sq_profile_find(&p, L0 "mlp.down_proj.weight", 1, &over);
	ck_assert(r->bits == 8 && r->group_cols == 0 && !r->symmetric);
	ck_assert(over == &p.override[0] && r->scale == SQ_SCALE_MSE);
	r = rule(&p, L0 "self_attn.q_proj.weight", 1);
	ck_assert(r->bits == 4 && r->group_cols == 32 && r->symmetric);
	r = rule(&p, "model.layers.1.self_attn.q_proj.weight", 1);
	ck_assert(r == &p.rule);
	/* The whole name, not a part of it. */
	r = rule(&p, "model.layers.30.self_attn.q_proj.weight", 1);
	ck_assert(r == &p.rule);
	r = rule(&p, L0 "self_attn.q_proj.weights", 1);
	ck_assert(r == &p.rule);
	ck_assert_ptr_null(rule(&p, L0 "self_attn.o_proj.weight", 1));
	r = rule(&p, "lm_head.weight", 0);
	ck_assert(sq_profile_grid(r) == SQ_Q6_K && r->group_cols == 16);
	ck_assert_ptr_null(rule(&p, "model.embed_tokens.weight", 0));
	r = rule(&p, L0 "mlp.gate_proj.weight", 1);
	ck_assert(r->group_rows == 0 && r->scale == SQ_SCALE_ABSMAX);
	sq_profile_release(&p);

	p = good(VECTORS "/good/some.yaml");
	ck_assert_int_eq(rule(&p, L0 "a", 1)->bits, 5);
	ck_assert_uint_eq(rule(&p, L0 "a", 1)->group_cols, 128);
	ck_assert_ptr_null(rule(&p, "model.layers.1.a", 1));
	sq_profile_release(&p);
}
END_TEST

/* Written out, it reads back as the same. */
static void
round_trip(const char *name)
{
	struct sq_profile p = good(name), q;
	char *a = sq_profile_text(&p), *b;

	ck_assert_msg(sq_profile_parse(&q, "again", a, strlen(a), err) == 0,
	    "%s: %s in:\n%s", name, err, a);
	b = sq_profile_text(&q);
	ck_assert_str_eq(a, b);
	ck_assert_uint_eq(p.noverrides, q.noverrides);
	free(a);
	free(b);
	sq_profile_release(&p);
	sq_profile_release(&q);
}

START_TEST(written)
{
	const char *name;
	size_t i;

	round_trip(VECTORS "/good/least.yaml");
	round_trip(VECTORS "/good/all.yaml");
	round_trip(VECTORS "/good/kv.yaml");
	round_trip(VECTORS "/good/json.yaml");
	round_trip(VECTORS "/good/some.yaml");
	for (i = 0; (name = sq_profile_preset(i)) != NULL; i++)
		round_trip(name);
	ck_assert_uint_gt(i, 15);
}
END_TEST

static void
value_is(const struct sq_profile *p, const char *key, const char *want)
{
	char *got = sq_profile_value(p, key);

	if (want == NULL)
		ck_assert_ptr_null(got);
	else
		ck_assert_str_eq(got, want);
	free(got);
}

START_TEST(values)
{
	struct sq_profile p = good(VECTORS "/good/all.yaml");
	char *spec;

	value_is(&p, "weight_bits", "4");
	value_is(&p, "sparsity_pattern", "2:4");
	value_is(&p, "id", "all: of it");
	value_is(&p, "extensions.description", "quotes \" and \\ and a tab\t");
	value_is(&p, "algorithm", "smooth awq gptq");
	value_is(&p, "kv.prefill_format", "int8");
	value_is(&p, "extensions.activation.granularity", "tensor");
	value_is(&p, "accuracy_limit", "0.02");
	value_is(&p, "group_size", "64");
	value_is(&p, "sequential", "true");
	value_is(&p, "kv", NULL);
	value_is(&p, "kv.", NULL);
	value_is(&p, "kv.x", NULL);
	value_is(&p, "weight_bits.x", NULL);
	value_is(&p, "overrides", NULL);
	value_is(&p, "", NULL);
	sq_profile_release(&p);
	p = good("kv4");
	spec = sq_profile_kv_spec(&p, 0);
	ck_assert_str_eq(spec, "int4,sink=4,window=128,hadamard");
	free(spec);
	sq_profile_release(&p);
	p = good(VECTORS "/good/kv.yaml");
	spec = sq_profile_kv_spec(&p, 1);
	ck_assert_str_eq(spec, "fp8_e5m2,sink=0,window=0,no-hadamard");
	free(spec);
	sq_profile_release(&p);
	p = good("w4a16");
	ck_assert_ptr_null(sq_profile_kv_spec(&p, 0));
	sq_profile_release(&p);
}
END_TEST

/* Each bad one gives its file, a line, and the reason in EXPECT. */
START_TEST(bad)
{
	FILE *f = fopen(VECTORS "/bad/EXPECT", "r");
	char name[128], want[256], path[512], line[512];
	struct sq_profile p;
	struct dirent *e;
	int n = 0;
	DIR *d;

	ck_assert_ptr_nonnull(f);
	while (fgets(line, sizeof(line), f) != NULL) {
		ck_assert_int_eq(sscanf(line, "%127s %255[^\n]", name, want),
		    2);
		snprintf(path, sizeof(path), VECTORS "/bad/%s.yaml", name);
		ck_assert_msg(sq_profile_load(&p, path, err) < 0,
		    "%s was taken", name);
		ck_assert_msg(strncmp(err, path, strlen(path)) == 0 &&
		    strstr(err, want) == err + strlen(path),
		    "%s: '%s', not '%s'", name, err, want);
		n++;
	}
	fclose(f);
	for (d = opendir(VECTORS "/bad"); (e = readdir(d)) != NULL;)
		n -= strstr(e->d_name, ".yaml") != NULL;
	closedir(d);
	ck_assert_int_eq(n, 0);
}
END_TEST

static size_t
problems(const char *engine, const char *profile, unsigned ranks,
    const struct sq_config *c, char *all, size_t size)
{
	struct sq_profile p = good(profile);
	struct sq_lint l = { .ranks = ranks };
	struct sq_engine e;
	size_t i, n;

	ck_assert_msg(sq_engine_load(&e, engine, err) == 0, "%s", err);
	l.engine = &e;
	ck_assert_int_eq(sq_lint_profile(&l, &p), 0);
	if (c != NULL)
		ck_assert_int_eq(sq_lint_model(&l, &p, c), 0);
	all[0] = '\0';
	for (i = 0; i < l.found; i++)
		snprintf(all + strlen(all), size - strlen(all), "%s\n",
		    l.problem[i]);
	n = l.found;
	sq_lint_release(&l);
	sq_profile_release(&p);
	return n;
}

static const char llama[] = "{\"architectures\": [\"LlamaForCausalLM\"],"
    "\"hidden_size\": 768, \"intermediate_size\": 2048,"
    "\"num_hidden_layers\": 3, \"vocab_size\": 1000,"
    "\"num_attention_heads\": 12, \"num_key_value_heads\": 4}";

static const char qwen3moe[] = "{\"architectures\":"
    "[\"Qwen3MoeForCausalLM\"], \"hidden_size\": 256,"
    "\"num_hidden_layers\": 2, \"vocab_size\": 1000, \"head_dim\": 64,"
    "\"num_attention_heads\": 4, \"num_key_value_heads\": 4,"
    "\"num_experts\": 8, \"num_experts_per_tok\": 2,"
    "\"moe_intermediate_size\": 96, \"intermediate_size\": 512}";

START_TEST(lint)
{
	char all[4096];
	struct sq_config c;

	ck_assert_int_eq(sq_config_parse(&c, llama, strlen(llama), err), 0);
	ck_assert_uint_eq(problems("vllm", "w4a16", 1, &c, all, 4096), 0);
	ck_assert_uint_eq(problems("vllm", "w4a16", 2, &c, all, 4096), 0);
	/* 768 / 4 = 192: not whole groups, not whole tiles; one line for all
	 * layers. */
	ck_assert_uint_eq(problems("vllm", "w4a16", 4, &c, all, 4096), 2);
	ck_assert_ptr_nonnull(strstr(all, "'self_attn.o_proj.weight': 192 "
	    "columns of a rank of 4 are not a multiple of the group, 128"));
	ck_assert_uint_ge(problems("vllm", "w4a16", 5, &c, all, 4096), 3);
	ck_assert_ptr_nonnull(strstr(all, "cannot deal 12 heads to 5"));
	ck_assert_uint_eq(problems("vllm", "w3a16", 1, &c, all, 4096), 1);
	ck_assert_ptr_nonnull(strstr(all, "w3a16:"));
	ck_assert_uint_eq(problems("llama.cpp", "q4_k", 1, &c, all, 4096), 0);
	ck_assert_uint_eq(problems("llama.cpp", "w8a8-fp8", 1, &c, all, 4096),
	    1);
	/* Tensors laid together that an override tells apart: in 3 layers. */
	ck_assert_uint_eq(problems("vllm", VECTORS "/good/all.yaml", 1, &c,
	    all, 4096) > 3, 1);
	ck_assert_ptr_nonnull(strstr(all, "lays"));
	ck_assert_uint_eq(problems("cpu", "w4a8kv4", 1, &c, all, 4096), 0);
	/* One line for all experts. */
	ck_assert_int_eq(sq_config_parse(&c, qwen3moe, strlen(qwen3moe), err),
	    0);
	ck_assert_uint_eq(problems("vllm", "w4a16", 1, &c, all, 4096), 4);
	ck_assert_msg(strstr(all, "'mlp.experts.*.down_proj.weight': 96 "
	    "columns are not a multiple of the group, 128") != NULL, "%s",
	    all);
}
END_TEST

/* Every engine that is compiled in can be read; every backend is one. */
START_TEST(engines)
{
	struct sq_profile p = good("fp8-dynamic");
	struct sq_engine e;
	struct sq_lint l;
	const char *name;
	size_t i;

	for (i = 0; (name = sq_engine_name(i)) != NULL; i++) {
		ck_assert_msg(sq_engine_load(&e, name, err) == 0, "%s", err);
		ck_assert_str_eq(e.name, name);
		ck_assert_int_gt(e.nrows, 0);
	}
	for (i = 0; sq_profile_backends[i] != NULL; i++) {
		ck_assert_msg(sq_profile_validate(&p, sq_profile_backends[i],
		    &l, err) == 0, "%s", err);
		sq_lint_release(&l);
	}
	ck_assert_int_eq(sq_profile_validate(&p, "kunlunxin", &l, err), 0);
	ck_assert_uint_eq(l.found, 1);
	sq_lint_release(&l);
	ck_assert_int_lt(sq_profile_validate(&p, "tpu", &l, err), 0);
	sq_profile_release(&p);
}
END_TEST

/* F16 ends at 65504, and what is not above half its least value is 0. */
START_TEST(scales)
{
	float f[] = { 1, 65504, 65536, -1e9f, 6e-8f, 1e-8f, 0, -1e-9f };
	uint16_t b[] = { 0x3f80, 0x4780, 0x4800, 0x3380, 0x3280, 0x8000 };

	ck_assert_uint_eq(sq_beyond_f16(SQ_F32, f, 8), 4);
	ck_assert_uint_eq(sq_beyond_f16(SQ_F32, f, 2), 0);
	/* 1, 65536, 131072, 2^-24, 2^-26, -0 */
	ck_assert_uint_eq(sq_beyond_f16(SQ_BF16, b, 6), 3);
	ck_assert_uint_eq(sq_beyond_f16(SQ_F16, b, 6), 0);
}
END_TEST

/* Rows of 12 columns: a byte and a half, padded. */
START_TEST(masks)
{
	struct sq_tensor t = { .ndim = 2, .dim = { 2, 12 } };
	struct sq_mask_seen m = { 0 };

	ck_assert_int_eq(sq_mask_pattern(&m), SQ_SPARSE_NONE);
	sq_mask_seen_tensor(&m, &t);
	sq_mask_seen_add(&m, (const unsigned char *)"\x53\x0c\xa6\x09", 4);
	ck_assert_int_eq(sq_mask_pattern(&m), SQ_SPARSE_2_4);
	ck_assert_double_eq(sq_mask_ratio(&m), 0.5);
	sq_mask_seen_tensor(&m, &t);
	sq_mask_seen_add(&m, (const unsigned char *)"\x71\x0c\xf0\x09", 4);
	ck_assert_int_eq(sq_mask_pattern(&m), SQ_SPARSE_4_8);
	sq_mask_seen_tensor(&m, &t);
	sq_mask_seen_add(&m, (const unsigned char *)"\xff\x00\x01\x00", 4);
	ck_assert_int_eq(sq_mask_pattern(&m), SQ_SPARSE_UNSTRUCTURED);
	ck_assert_double_eq_tol(sq_mask_ratio(&m), 1 - 33. / 72, 1e-12);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("profile");
	TCase *t = tcase_create("all");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_test(t, defaults);
	tcase_add_test(t, overrides);
	tcase_add_test(t, written);
	tcase_add_test(t, values);
	tcase_add_test(t, bad);
	tcase_add_test(t, lint);
	tcase_add_test(t, engines);
	tcase_add_test(t, scales);
	tcase_add_test(t, masks);
	suite_add_tcase(s, t);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
