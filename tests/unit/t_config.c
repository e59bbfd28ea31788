/* lib/model/config: config.json, and the tensors that an architecture names. */
#include <check.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "model/config.h"
#include "model/inventory.h"

#define VECTORS	"tests/formats/config"

static char err[SQ_ERR];

static int
parse_file(struct sq_config *c, const char *path)
{
	size_t len;
	char *text = sq_read_file(AT_FDCWD, path, 1 << 20, &len, err);
	int r;

	ck_assert_msg(text != NULL, "%s", err);
	err[0] = '\0';
	r = sq_config_parse(c, text, len, err);
	free(text);
	return r;
}

static struct sq_config
good(const char *name)
{
	struct sq_config c;
	char path[512];

	snprintf(path, sizeof(path), VECTORS "/good/%s.json", name);
	ck_assert_msg(parse_file(&c, path) == 0, "%s: %s", name, err);
	return c;
}

static int
files_in(const char *path)
{
	DIR *d = opendir(path);
	struct dirent *e;
	int n = 0;

	while ((e = readdir(d)) != NULL)
		n += e->d_name[0] != '.';
	closedir(d);
	return n;
}

/* What the configuration leaves open is what transformers takes. */
START_TEST(defaults)
{
	struct sq_config c = good("least");

	ck_assert_str_eq(c.arch->name, "LlamaForCausalLM");
	ck_assert_uint_eq(c.dim, 64);
	ck_assert_uint_eq(c.layers, 2);
	ck_assert_uint_eq(c.heads, 4);
	ck_assert_uint_eq(c.kv_heads, 4);
	ck_assert_uint_eq(c.head_dim, 16);
	ck_assert_uint_eq(c.ffn, 128);
	ck_assert_uint_eq(c.vocab, 256);
	ck_assert_uint_eq(c.context, 2048);
	ck_assert_double_eq(c.eps, 1e-6);
	ck_assert_int_eq(c.rope.kind, SQ_ROPE_PLAIN);
	ck_assert_double_eq(c.rope.theta, 10000);
	ck_assert_uint_eq(c.window, 0);
	ck_assert_int_eq(c.tied || c.qkv_bias || c.o_bias || c.mlp_bias, 0);
	ck_assert_int_eq(c.bos, -1);
	ck_assert_int_eq(c.eos, -1);
	c = good("nulls");
	ck_assert_uint_eq(c.kv_heads, 4);
	ck_assert_double_eq(c.eps, 1e-6);
	c = good("several-ends");
	ck_assert_int_eq(c.bos, 1);
	ck_assert_int_eq(c.eos, 2);
}
END_TEST

START_TEST(windows)
{
	struct sq_config c = good("mistral");

	ck_assert_uint_eq(c.window, 4096);
	ck_assert_uint_eq(c.window_from, 0);
	ck_assert_uint_eq(good("mistral-no-window").window, 0);
	c = good("qwen2");
	ck_assert_uint_eq(c.window, 128);
	ck_assert_uint_eq(c.window_from, 1);
	ck_assert_int_eq(c.tied, 1);
	ck_assert_uint_eq(good("qwen2-no-window").window, 0);
}
END_TEST

START_TEST(ropes)
{
	struct sq_config c = good("llama3-rope");

	ck_assert_int_eq(c.rope.kind, SQ_ROPE_LLAMA3);
	ck_assert_double_eq(c.rope.theta, 5e5);
	ck_assert_double_eq(c.rope.factor, 8);
	ck_assert_uint_eq(c.rope.original_context, 8192);
	ck_assert_uint_eq(c.context, 131072);
	c = good("linear-rope");
	ck_assert_int_eq(c.rope.kind, SQ_ROPE_LINEAR);
	ck_assert_double_eq(c.rope.factor, 2);
	c = good("yarn-rope");
	ck_assert_int_eq(c.rope.kind, SQ_ROPE_YARN);
	ck_assert_double_eq(c.rope.attention_factor, 1.1386);
	ck_assert_int_eq(c.rope.truncate, 1);
	ck_assert_int_eq(good("rope-parameters").rope.kind, SQ_ROPE_PLAIN);
}
END_TEST

START_TEST(good_vectors)
{
	DIR *d = opendir(VECTORS "/good");
	struct sq_config c;
	struct dirent *e;
	char path[512];
	int n = 0;

	ck_assert_ptr_nonnull(d);
	while ((e = readdir(d)) != NULL) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), VECTORS "/good/%s", e->d_name);
		ck_assert_msg(parse_file(&c, path) == 0, "%s: %s", path, err);
		n++;
	}
	closedir(d);
	ck_assert_int_ge(n, 15);
}
END_TEST

/* EXPECT has a line for each bad vector: its name, a tab, a part of why. */
START_TEST(bad_vectors)
{
	FILE *f = fopen(VECTORS "/bad/EXPECT", "r");
	char line[256], path[512], *why;
	struct sq_config c;
	int n = 0;

	ck_assert_ptr_nonnull(f);
	while (fgets(line, sizeof(line), f) != NULL) {
		line[strcspn(line, "\n")] = '\0';
		why = strchr(line, '\t');
		ck_assert_ptr_nonnull(why);
		*why++ = '\0';
		snprintf(path, sizeof(path), VECTORS "/bad/%s", line);
		ck_assert_msg(parse_file(&c, path) < 0, "%s is taken", path);
		ck_assert_msg(strncmp(err, "config.json: ", 13) == 0 &&
		    strstr(err, why) != NULL, "%s: %s", path, err);
		ck_assert_msg(strpbrk(err, "\n\033\a") == NULL, "%s", path);
		n++;
	}
	fclose(f);
	ck_assert_int_eq(n + 1, files_in(VECTORS "/bad"));
	ck_assert_int_ge(n, 50);
}
END_TEST

/* Every prefix of a good file is bad, but for those that lack only blanks. */
START_TEST(prefixes)
{
	size_t len, n;
	char *text = sq_read_file(AT_FDCWD, VECTORS "/good/yarn-rope.json",
	    1 << 20, &len, err);
	struct sq_config c;

	ck_assert_ptr_nonnull(text);
	ck_assert_int_eq(sq_config_parse(&c, text, len, err), 0);
	ck_assert_int_eq(sq_config_parse(&c, text, len - 1, err), 0);
	for (n = 0; n < len - 1; n++)
		ck_assert_msg(sq_config_parse(&c, text, n, err) < 0,
		    "%zu bytes", n);
	free(text);
}
END_TEST

static const char *const llama_block[] = {
	"input_layernorm.weight", "self_attn.q_proj.weight",
	"self_attn.k_proj.weight", "self_attn.v_proj.weight",
	"self_attn.o_proj.weight", "post_attention_layernorm.weight",
	"mlp.gate_proj.weight", "mlp.up_proj.weight", "mlp.down_proj.weight",
};
static const char *const biased_block[] = {
	"input_layernorm.weight", "self_attn.q_proj.weight",
	"self_attn.q_proj.bias", "self_attn.k_proj.weight",
	"self_attn.k_proj.bias", "self_attn.v_proj.weight",
	"self_attn.v_proj.bias", "self_attn.o_proj.weight",
	"self_attn.o_proj.bias", "post_attention_layernorm.weight",
	"mlp.gate_proj.weight", "mlp.gate_proj.bias", "mlp.up_proj.weight",
	"mlp.up_proj.bias", "mlp.down_proj.weight", "mlp.down_proj.bias",
};
static const char *const qwen3_block[] = {
	"input_layernorm.weight", "self_attn.q_proj.weight",
	"self_attn.k_proj.weight", "self_attn.v_proj.weight",
	"self_attn.q_norm.weight", "self_attn.k_norm.weight",
	"self_attn.o_proj.weight", "post_attention_layernorm.weight",
	"mlp.gate_proj.weight", "mlp.up_proj.weight", "mlp.down_proj.weight",
};

#define COUNT(a)	(sizeof(a) / sizeof((a)[0]))

/* The order of a forward pass; and each name is found again. */
static void
check_slots(const char *file, const char *const *block, size_t n)
{
	struct sq_config c = good(file);
	struct sq_slot *s;
	char name[SQ_NAME];
	size_t i, count;

	s = sq_config_slots(&c, &count);
	ck_assert_ptr_nonnull(s);
	ck_assert_uint_eq(count, 3 + n * c.layers);
	ck_assert_str_eq(s[0].name, "model.embed_tokens.weight");
	ck_assert_str_eq(s[count - 2].name, "model.norm.weight");
	ck_assert_str_eq(s[count - 1].name, "lm_head.weight");
	ck_assert_int_eq(s[count - 1].required, !c.tied);
	for (i = 1; i < count - 2; i++) {
		snprintf(name, sizeof(name), "model.layers.%zu.%s",
		    (i - 1) / n, block[(i - 1) % n]);
		ck_assert_str_eq(s[i].name, name);
		ck_assert_uint_eq(s[i].layer, (i - 1) / n);
		ck_assert_int_eq(s[i].required, 1);
	}
	for (i = 0; i < count; i++)
		ck_assert_ptr_eq(sq_slot_find(s, count, s[i].name), &s[i]);
	free(s);
}

START_TEST(slots)
{
	check_slots("least", llama_block, COUNT(llama_block));
	check_slots("biases", biased_block, COUNT(biased_block));
	check_slots("qwen3", qwen3_block, COUNT(qwen3_block));
	check_slots("largest", llama_block, COUNT(llama_block));
}
END_TEST

START_TEST(strangers)
{
	static const char *const names[] = {
		"", "model", "model.layers.", "model.layers.2.mlp.up_proj.weight",
		"model.layers.0", "model.layers.0.", "model.layers.00.mlp.up_proj.weight",
		"model.layers.-1.mlp.up_proj.weight",
		"model.layers.99999999999999999999.mlp.up_proj.weight",
		"model.layers.0.mlp.up_proj.weights", "lm_head.weigh",
		"model.layers.0.self_attn.q_proj.bias", "model.norm.bias",
		"model.layers.1x.mlp.up_proj.weight",
	};
	struct sq_config c = good("least");
	struct sq_slot *s;
	size_t i, n;

	s = sq_config_slots(&c, &n);
	for (i = 0; i < COUNT(names); i++)
		ck_assert_msg(sq_slot_find(s, n, names[i]) == NULL, "%s",
		    names[i]);
	free(s);
}
END_TEST

/* Shapes: what each slot's matrix must be. */
START_TEST(shapes)
{
	struct sq_config c = good("qwen3");	/* 4 heads of 128 over dim 64 */
	struct sq_slot *s;
	size_t n;
	static const struct {
		const char *name;
		int ndim;
		uint64_t d0, d1;
	} want[] = {
		{ "model.embed_tokens.weight", 2, 256, 64 },
		{ "model.layers.1.self_attn.q_proj.weight", 2, 512, 64 },
		{ "model.layers.1.self_attn.k_proj.weight", 2, 512, 64 },
		{ "model.layers.1.self_attn.o_proj.weight", 2, 64, 512 },
		{ "model.layers.1.self_attn.q_norm.weight", 1, 128, 0 },
		{ "model.layers.0.mlp.up_proj.weight", 2, 128, 64 },
		{ "model.layers.0.mlp.down_proj.weight", 2, 64, 128 },
		{ "model.norm.weight", 1, 64, 0 },
	};
	const struct sq_slot *f;
	size_t i;

	s = sq_config_slots(&c, &n);
	for (i = 0; i < COUNT(want); i++) {
		f = sq_slot_find(s, n, want[i].name);
		ck_assert_ptr_nonnull(f);
		ck_assert_int_eq(f->ndim, want[i].ndim);
		ck_assert_uint_eq(f->dim[0], want[i].d0);
		if (f->ndim == 2)
			ck_assert_uint_eq(f->dim[1], want[i].d1);
		ck_assert_int_eq(f->linear, f->ndim == 2 &&
		    f->role != SQ_EMBED);
	}
	free(s);
}
END_TEST

static struct sq_tensor
as_slot(const struct sq_slot *s)
{
	struct sq_tensor t = { .type = SQ_BF16, .ndim = s->ndim };

	memcpy(t.name, s->name, sizeof(t.name));
	memcpy(t.dim, s->dim, sizeof(s->dim));
	return t;
}

START_TEST(inventory)
{
	static const char config[] = "{\"architectures\":[\"LlamaForCausalLM\"],"
	    "\"hidden_size\":64,\"intermediate_size\":128,"
	    "\"num_hidden_layers\":1,\"num_attention_heads\":4,"
	    "\"vocab_size\":256}";
	const struct sq_slot *slot;
	struct sq_inventory v;
	struct sq_tensor t;
	size_t i;

	ck_assert_int_eq(sq_inventory_init(&v, config, sizeof(config) - 1,
	    err), 0);
	for (i = 0; i < v.n; i++) {
		ck_assert_int_lt(sq_inventory_complete(&v, err), 0);
		ck_assert_ptr_nonnull(strstr(err, v.slot[i].name));
		t = as_slot(&v.slot[i]);
		t.dim[0]++;
		ck_assert_int_lt(sq_inventory_add(&v, &t, &slot, err), 0);
		t = as_slot(&v.slot[i]);
		t.ndim++;
		ck_assert_int_lt(sq_inventory_add(&v, &t, &slot, err), 0);
		t = as_slot(&v.slot[i]);
		t.type = SQ_I32;
		ck_assert_int_lt(sq_inventory_add(&v, &t, &slot, err), 0);
		t = as_slot(&v.slot[i]);
		ck_assert_int_eq(sq_inventory_add(&v, &t, &slot, err), 0);
		ck_assert_ptr_eq(slot, &v.slot[i]);
		ck_assert_int_lt(sq_inventory_add(&v, &t, &slot, err), 0);
		ck_assert_ptr_nonnull(strstr(err, "comes twice"));
	}
	ck_assert_int_eq(sq_inventory_complete(&v, err), 0);
	strcpy(t.name, "another");
	ck_assert_int_eq(sq_inventory_add(&v, &t, &slot, err), 0);
	ck_assert_ptr_null(slot);
	sq_inventory_release(&v);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("config");
	TCase *tc = tcase_create("config");
	SRunner *sr;
	int failed;

	tcase_add_test(tc, defaults);
	tcase_add_test(tc, windows);
	tcase_add_test(tc, ropes);
	tcase_add_test(tc, good_vectors);
	tcase_add_test(tc, bad_vectors);
	tcase_add_test(tc, prefixes);
	tcase_add_test(tc, slots);
	tcase_add_test(tc, strangers);
	tcase_add_test(tc, shapes);
	tcase_add_test(tc, inventory);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
