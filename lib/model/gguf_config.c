/*
 * config.json and a GGUF file's keys; see gguf_config.h.
 *
 * A number that is a float there becomes the shortest decimal that is that
 * float, so that it is the same float when it is written again.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/gguf_config.h"
#include "model/gguf_names.h"
#include "model/rope.h"

#define KEY	128

void
sq_gguf_divisors(const struct sq_config *c, float *div)
{
	uint64_t i;

	for (i = 0; i < c->head_dim / 2; i++)
		div[i] = (float)sq_rope_divisor(&c->rope, (double)i,
		    (double)c->head_dim);
}

/* ---- writing ---- */

struct keys {
	struct sq_gguf_out *out;
	const char *arch;
	char key[KEY];
	int bad;			/* a number that does not fit */
};

static const char *
key(struct keys *k, const char *name)
{
	snprintf(k->key, sizeof(k->key), "%s.%s", k->arch, name);
	return k->key;
}

static void
put_count(struct keys *k, const char *name, uint64_t v)
{
	k->bad |= v > UINT32_MAX;
	sq_gguf_put_u32(k->out, key(k, name), (uint32_t)v);
}

static void
put_real(struct keys *k, const char *name, double v)
{
	sq_gguf_put_f32(k->out, key(k, name), (float)v);
}

static void
put_rope(struct keys *k, const struct sq_config *c)
{
	const struct sq_rope *r = &c->rope;
	const char *kind = r->kind == SQ_ROPE_LINEAR ? "linear" : "yarn";

	put_real(k, "rope.freq_base", r->theta);
	put_count(k, "rope.dimension_count", c->head_dim);
	if (r->kind != SQ_ROPE_LINEAR && r->kind != SQ_ROPE_YARN)
		return;
	sq_gguf_put_string(k->out, key(k, "rope.scaling.type"), kind,
	    strlen(kind));
	put_real(k, "rope.scaling.factor", r->factor);
	if (r->kind == SQ_ROPE_YARN)
		put_count(k, "rope.scaling.original_context_length",
		    r->original_context);
}

/* Yarn's other knobs have no keys that every reader of such files heeds. */
static int
rope_fits(const struct sq_rope *r)
{
	return r->kind != SQ_ROPE_YARN || (r->beta_fast == 32 &&
	    r->beta_slow == 1 && r->truncate && r->attention_factor == 0 &&
	    r->mscale == 0 && r->mscale_all == 0);
}

static void
put_name(struct sq_gguf_out *o, const struct sq_config *c, const json_t *conf)
{
	const char *name = json_string_value(json_object_get(conf,
	    "_name_or_path")), *slash;

	if (name != NULL && (slash = strrchr(name, '/')) != NULL)
		name = slash + 1;
	if (name == NULL || *name == '\0')
		name = sq_gguf_arch(c);
	sq_gguf_put_string(o, "general.name", name, strlen(name));
}

/* Every layer has experts there, and the weights of the chosen have sum 1. */
static int
put_experts(struct keys *k, const struct sq_config *c, char *err)
{
	uint64_t i;

	if (c->experts == 0)
		return 0;
	for (i = 0; i < c->layers; i++)
		if (!sq_config_has_experts(c, i))
			return sq_fail(err, "GGUF has no keys for layers "
			    "without experts");
	if (!c->renormalize)
		return sq_fail(err, "GGUF has no keys for experts whose "
		    "weights do not sum to 1");
	put_count(k, "expert_count", c->experts);
	put_count(k, "expert_used_count", c->chosen);
	put_count(k, "expert_feed_forward_length", c->expert_ffn);
	return 0;
}

int
sq_gguf_put_config(struct sq_gguf_out *o, const struct sq_config *c,
    const json_t *conf, char *err)
{
	struct keys k = { .out = o, .arch = sq_gguf_arch(c) };

	if (k.arch == NULL)
		return sq_fail(err, "there is no GGUF architecture for %s",
		    c->arch->name);
	if (!rope_fits(&c->rope))
		return sq_fail(err, "GGUF has no keys for this rope scaling");
	sq_gguf_put_string(o, "general.architecture", k.arch, strlen(k.arch));
	put_name(o, c, conf);
	sq_gguf_put_u32(o, "general.quantization_version", 2);
	put_count(&k, "block_count", c->layers);
	put_count(&k, "context_length", c->context);
	put_count(&k, "embedding_length", c->dim);
	put_count(&k, "feed_forward_length", c->ffn);
	put_count(&k, "attention.head_count", c->heads);
	put_count(&k, "attention.head_count_kv", c->kv_heads);
	put_count(&k, "attention.key_length", c->head_dim);
	put_count(&k, "attention.value_length", c->head_dim);
	put_real(&k, "attention.layer_norm_rms_epsilon", c->eps);
	put_count(&k, "vocab_size", c->vocab);
	put_rope(&k, c);
	if (put_experts(&k, c, err) < 0)
		return -1;
	return k.bad ? sq_fail(err, "a size is too great for GGUF") : 0;
}

/* ---- reading ---- */

static int
get_count(const struct sq_gguf *g, struct keys *k, const char *name,
    uint64_t *v)
{
	return sq_gguf_uint(g, key(k, name), v);
}

static double
shortest(double v)
{
	char text[32];
	double d;
	int n;

	for (n = 1; n <= 9; n++) {
		snprintf(text, sizeof(text), "%.*g", n, v);
		d = strtod(text, NULL);
		if ((float)d == (float)v)
			return d;
	}
	return v;
}

static const struct sq_gguf_info *
tensor(const struct sq_gguf *g, const char *name)
{
	size_t i;

	for (i = 0; i < g->n; i++)
		if (strcmp(g->tensor[i].name, name) == 0)
			return &g->tensor[i];
	return NULL;
}

/* The counts that there must be, and what config.json calls them. */
static int
set_counts(json_t *o, const struct sq_gguf *g, struct keys *k, char *err)
{
	static const struct { const char *gguf, *hf; int must; } names[] = {
		{ "embedding_length", "hidden_size", 1 },
		{ "block_count", "num_hidden_layers", 1 },
		{ "attention.head_count", "num_attention_heads", 1 },
		{ "attention.head_count_kv", "num_key_value_heads", 0 },
		{ "attention.key_length", "head_dim", 0 },
		{ "feed_forward_length", "intermediate_size", 1 },
		{ "context_length", "max_position_embeddings", 1 },
		{ "expert_used_count", "num_experts_per_tok", 0 },
		{ "expert_feed_forward_length", "moe_intermediate_size", 0 },
	};
	uint64_t v;
	size_t i;

	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (get_count(g, k, names[i].gguf, &v) == 0 && v <= INT64_MAX)
			json_object_set_new(o, names[i].hf,
			    json_integer((json_int_t)v));
		else if (names[i].must)
			return sq_fail(err, "key '%s' is missing, or no count",
			    key(k, names[i].gguf));
	}
	return 0;
}

/* Divisors become the four numbers that they were made from: the greatest is
 * the factor; published models have low and high factors of 1 and 4. */
static json_t *
llama3_scaling(const struct sq_gguf *g, const struct sq_gguf_info *t,
    struct sq_config *c)
{
	uint64_t n = t->dim[t->ndim - 1], i;
	float *have = malloc(n * sizeof(*have) * 2), *want = have + n;
	struct sq_rope *r = &c->rope;
	json_t *found = NULL;

	if (have == NULL || t->kind->type != SQ_GGUF_F32 || t->ndim != 1 ||
	    t->length != n * 4)
		goto done;
	memcpy(have, g->map + t->offset, n * 4);
	*r = (struct sq_rope){ .kind = SQ_ROPE_LLAMA3, .theta = r->theta,
	    .factor = 1, .low_freq = 1, .high_freq = 4 };
	c->head_dim = 2 * n;
	for (i = 0; i < n; i++)
		r->factor = fmax(r->factor, have[i]);
	for (r->original_context = 32; found == NULL &&
	    r->original_context <= 1 << 20; r->original_context *= 2) {
		sq_gguf_divisors(c, want);
		for (i = 0; i < n && fabsf(have[i] - want[i]) <=
		    1e-4f * want[i]; i++)
			;
		if (i == n)
			found = json_pack("{s:s, s:f, s:f, s:f, s:I}",
			    "rope_type", "llama3", "factor",
			    shortest(r->factor), "low_freq_factor", 1.0,
			    "high_freq_factor", 4.0,
			    "original_max_position_embeddings",
			    (json_int_t)r->original_context);
	}
done:
	free(have);
	return found;
}

static json_t *
named_scaling(const struct sq_gguf *g, struct keys *k)
{
	struct sq_gguf_str kind = { "none", 4 };
	uint64_t original;
	double factor = 1;
	json_t *o;

	sq_gguf_string(g, key(k, "rope.scaling.type"), &kind);
	if (kind.n == 4 && memcmp(kind.p, "none", 4) == 0)
		return json_null();
	sq_gguf_real(g, key(k, "rope.scaling.factor"), &factor);
	o = json_pack("{s:s%, s:f}", "rope_type", kind.p, kind.n, "factor",
	    shortest(factor));
	if (o != NULL && get_count(g, k,
	    "rope.scaling.original_context_length", &original) == 0)
		json_object_set_new(o, "original_max_position_embeddings",
		    json_integer((json_int_t)original));
	return o;
}

static int
set_rope(json_t *o, const struct sq_gguf *g, struct keys *k, char *err)
{
	const struct sq_gguf_info *t = tensor(g, SQ_GGUF_ROPE);
	struct sq_config c = { .rope.theta = 10000 };
	json_t *scaling;

	sq_gguf_real(g, key(k, "rope.freq_base"), &c.rope.theta);
	c.rope.theta = shortest(c.rope.theta);
	json_object_set_new(o, "rope_theta", json_real(c.rope.theta));
	scaling = t != NULL ? llama3_scaling(g, t, &c) : named_scaling(g, k);
	if (scaling == NULL)
		return sq_fail(err, "rope scaling of an unknown kind");
	json_object_set_new(o, "rope_scaling", scaling);
	return 0;
}

static void
set_ids(json_t *o, const struct sq_gguf *g)
{
	static const struct { const char *gguf, *hf; } names[] = {
		{ "tokenizer.ggml.bos_token_id", "bos_token_id" },
		{ "tokenizer.ggml.eos_token_id", "eos_token_id" },
		{ "tokenizer.ggml.padding_token_id", "pad_token_id" },
	};
	uint64_t v;
	size_t i;

	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (sq_gguf_uint(g, names[i].gguf, &v) == 0 && v <= UINT32_MAX)
			json_object_set_new(o, names[i].hf,
			    json_integer((json_int_t)v));
}

static void
set_name(json_t *o, const struct sq_gguf *g, const struct sq_gguf_str *arch)
{
	struct sq_gguf_str name;
	json_t *v;

	if (sq_gguf_string(g, "general.name", &name) == 0 && name.n > 0 &&
	    (name.n != arch->n || memcmp(name.p, arch->p, name.n) != 0) &&
	    (v = json_stringn(name.p, name.n)) != NULL)
		json_object_set_new(o, "_name_or_path", v);
}

static int
set_rest(json_t *o, const struct sq_gguf *g, struct keys *k, char *err)
{
	const struct sq_gguf_info *embed = tensor(g, "token_embd.weight");
	int bf16 = 0, llama = strcmp(k->arch, "llama") == 0;
	double eps;
	size_t i;

	if (embed == NULL || embed->ndim != 2)
		return sq_fail(err, "tensor 'token_embd.weight' is missing, "
		    "or no matrix");
	if (sq_gguf_real(g, key(k, "attention.layer_norm_rms_epsilon"),
	    &eps) < 0)
		return sq_fail(err, "key '%s' is missing", k->key);
	for (i = 0; i < g->n; i++)
		bf16 |= g->tensor[i].kind->type == SQ_GGUF_BF16;
	json_object_set_new(o, "model_type", json_string(
	    json_object_get(o, "num_local_experts") != NULL ? "mixtral" :
	    strcmp(k->arch, "qwen3moe") == 0 ? "qwen3_moe" : k->arch));
	json_object_set_new(o, "vocab_size",
	    json_integer((json_int_t)embed->dim[0]));
	json_object_set_new(o, "hidden_act", json_string("silu"));
	json_object_set_new(o, "rms_norm_eps", json_real(shortest(eps)));
	json_object_set_new(o, "tie_word_embeddings",
	    json_boolean(tensor(g, "output.weight") == NULL));
	json_object_set_new(o, "attention_bias", json_boolean(llama &&
	    tensor(g, "blk.0.attn_q.bias") != NULL));
	json_object_set_new(o, "mlp_bias",
	    json_boolean(tensor(g, "blk.0.ffn_up.bias") != NULL));
	json_object_set_new(o, "torch_dtype",
	    json_string(bf16 ? "bfloat16" : "float16"));
	set_ids(o, g);
	return 0;
}

static void
set_experts(json_t *o, const char *hf, uint64_t experts)
{
	int mixtral = strcmp(hf, "MixtralForCausalLM") == 0;

	json_object_set_new(o, mixtral ? "num_local_experts" : "num_experts",
	    json_integer((json_int_t)experts));
	if (!mixtral)
		json_object_set_new(o, "norm_topk_prob", json_true());
}

json_t *
sq_gguf_config(const struct sq_gguf *g, char *err)
{
	struct sq_gguf_str arch;
	struct keys k = { .out = NULL };
	const char *hf;
	uint64_t experts = 0;
	char name[64];
	json_t *o;

	if (sq_gguf_string(g, "general.architecture", &arch) < 0) {
		sq_fail(err, "key 'general.architecture' is missing");
		return NULL;
	}
	snprintf(name, sizeof(name), "%.*s", (int)(arch.n < 63 ? arch.n : 63),
	    arch.p);
	k.arch = name;
	get_count(g, &k, "expert_count", &experts);
	if ((hf = sq_gguf_hf_arch(&arch, experts > 0)) == NULL) {
		sq_fail(err, "architecture '%s' is not supported", name);
		return NULL;
	}
	if ((o = json_pack("{s:[s]}", "architectures", hf)) == NULL) {
		sq_fail(err, "out of memory");
		return NULL;
	}
	set_name(o, g, &arch);
	if (experts > 0 && experts <= SQ_MAX_EXPERTS)
		set_experts(o, hf, experts);
	if (set_counts(o, g, &k, err) == 0 && set_rope(o, g, &k, err) == 0 &&
	    set_rest(o, g, &k, err) == 0)
		return o;
	json_decref(o);
	return NULL;
}
