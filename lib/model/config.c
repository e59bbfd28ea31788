/* config.json and the table of architectures; see config.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/fmt_json.h"
#include "model/config.h"

static const struct sq_moe_names mixtral = {
	.count = "num_local_experts", .width = "intermediate_size",
	.router = "block_sparse_moe.gate",
	.expert = "block_sparse_moe.experts.%ju.%s", .gate = "w1", .up = "w3",
	.down = "w2", .renormalize = 1
};
static const struct sq_moe_names qwen3_moe = {
	.count = "num_experts", .width = "moe_intermediate_size",
	.router = "mlp.gate", .expert = "mlp.experts.%ju.%s",
	.gate = "gate_proj", .up = "up_proj", .down = "down_proj"
};

static const struct sq_arch archs[] = {
	{ .name = "LlamaForCausalLM" },
	{ .name = "MistralForCausalLM" },
	{ .name = "Qwen2ForCausalLM", .qkv_bias = 1 },
	{ .name = "Qwen3ForCausalLM", .qk_norm = 1 },
	{ .name = "MixtralForCausalLM", .moe = &mixtral },
	{ .name = "Qwen3MoeForCausalLM", .qk_norm = 1, .moe = &qwen3_moe },
};

#define NARCHS	(sizeof(archs) / sizeof(archs[0]))

const char *const *
sq_arch_names(void)
{
	static const char *names[NARCHS + 1];
	size_t i;

	for (i = 0; i < NARCHS; i++)
		names[i] = archs[i].name;
	return names;
}

static const struct sq_arch *
find_arch(const json_t *o, char *err)
{
	const json_t *a = json_object_get(o, "architectures");
	const char *name = json_string_value(json_array_get(a, 0));
	size_t i;

	if (name == NULL) {
		sq_fail(err, "'architectures' is missing");
		return NULL;
	}
	for (i = 0; i < NARCHS; i++)
		if (strcmp(archs[i].name, name) == 0)
			return &archs[i];
	sq_fail(err, "architecture '%s' is not supported", name);
	return NULL;
}

/* A whole number from lo to hi; def, unless 0, when the key is absent. */
static int
bounded(const json_t *o, const char *key, uint64_t *v, uint64_t def,
    uint64_t lo, uint64_t hi, char *err)
{
	*v = def;
	if (def == 0) {
		if (sq_json_uint(o, key, v, err) < 0)
			return -1;
	} else if (sq_json_opt_uint(o, key, v, err) < 0)
		return -1;
	if (*v < lo || *v > hi)
		return sq_fail(err, "'%s' is %ju, not from %ju to %ju", key,
		    (uintmax_t)*v, (uintmax_t)lo, (uintmax_t)hi);
	return 0;
}

static int
parse_shape(struct sq_config *c, const json_t *o, char *err)
{
	if (bounded(o, "hidden_size", &c->dim, 0, 1, 1 << 20, err) < 0 ||
	    bounded(o, "num_hidden_layers", &c->layers, 0, 1, SQ_MAX_LAYERS,
	    err) < 0 ||
	    bounded(o, "num_attention_heads", &c->heads, 0, 1, 4096,
	    err) < 0 ||
	    bounded(o, "num_key_value_heads", &c->kv_heads, c->heads, 1, 4096,
	    err) < 0 ||
	    bounded(o, "intermediate_size", &c->ffn, 0, 1, 1 << 22, err) < 0 ||
	    bounded(o, "vocab_size", &c->vocab, 0, 1, 1 << 24, err) < 0 ||
	    bounded(o, "max_position_embeddings", &c->context, 2048, 1,
	    1 << 28, err) < 0)
		return -1;
	if (c->heads % c->kv_heads != 0)
		return sq_fail(err, "%ju attention heads do not divide by %ju "
		    "key-value heads", (uintmax_t)c->heads,
		    (uintmax_t)c->kv_heads);
	if (json_object_get(o, "head_dim") == NULL ||
	    json_is_null(json_object_get(o, "head_dim"))) {
		if (c->dim % c->heads != 0)
			return sq_fail(err, "'hidden_size' %ju does not "
			    "divide by %ju heads", (uintmax_t)c->dim,
			    (uintmax_t)c->heads);
		c->head_dim = c->dim / c->heads;
	} else if (bounded(o, "head_dim", &c->head_dim, 0, 1, 1024, err) < 0)
		return -1;
	if (c->head_dim % 2 != 0)
		return sq_fail(err, "'head_dim' %ju is odd",
		    (uintmax_t)c->head_dim);
	return 0;
}

static int
rope_kind(struct sq_rope *r, const json_t *o, char *err)
{
	const json_t *v = json_object_get(o, "rope_type");
	const char *s;

	if (v == NULL)
		v = json_object_get(o, "type");
	s = v == NULL ? "default" : json_string_value(v);
	if (s == NULL)
		return sq_fail(err, "'rope_type' is not a string");
	if (strcmp(s, "default") == 0)
		r->kind = SQ_ROPE_PLAIN;
	else if (strcmp(s, "linear") == 0)
		r->kind = SQ_ROPE_LINEAR;
	else if (strcmp(s, "llama3") == 0)
		r->kind = SQ_ROPE_LLAMA3;
	else if (strcmp(s, "yarn") == 0)
		r->kind = SQ_ROPE_YARN;
	else
		return sq_fail(err, "rope scaling '%s' is not supported", s);
	return 0;
}

static int
check_rope(const struct sq_rope *r, char *err)
{
	if (!(r->theta >= 1 && r->theta <= 1e12))
		return sq_fail(err, "'rope_theta' is out of bounds");
	if (r->kind == SQ_ROPE_PLAIN)
		return 0;
	if (!(r->factor >= 1 && r->factor <= 1e6))
		return sq_fail(err, "rope scaling: 'factor' is out of bounds");
	if (r->original_context < 1 || r->original_context > 1 << 28)
		return sq_fail(err, "rope scaling: "
		    "'original_max_position_embeddings' is out of bounds");
	if (r->kind == SQ_ROPE_LLAMA3 && !(r->low_freq > 0 &&
	    r->high_freq > r->low_freq))
		return sq_fail(err, "rope scaling: frequency factors out of "
		    "order");
	if (r->kind == SQ_ROPE_YARN && !(r->beta_slow > 0 &&
	    r->beta_fast >= r->beta_slow))
		return sq_fail(err, "rope scaling: betas out of order");
	return 0;
}

/* Older files have rope_theta beside rope_scaling, newer ones all of it in
 * rope_parameters. */
static int
parse_rope(struct sq_config *c, const json_t *o, char *err)
{
	struct sq_rope *r = &c->rope;
	const json_t *s = json_object_get(o, "rope_parameters");

	*r = (struct sq_rope){ .theta = 10000, .factor = 1, .low_freq = 1,
	    .high_freq = 4, .beta_fast = 32, .beta_slow = 1, .truncate = 1,
	    .original_context = c->context };
	if (sq_json_opt_real(o, "rope_theta", &r->theta, err) < 0)
		return -1;
	if (s == NULL || json_is_null(s))
		s = json_object_get(o, "rope_scaling");
	if (s == NULL || json_is_null(s))
		return check_rope(r, err);
	if (!json_is_object(s))
		return sq_fail(err, "'rope_scaling' is not an object");
	if (rope_kind(r, s, err) < 0 ||
	    sq_json_opt_real(s, "rope_theta", &r->theta, err) < 0 ||
	    sq_json_opt_real(s, "factor", &r->factor, err) < 0 ||
	    sq_json_opt_real(s, "low_freq_factor", &r->low_freq, err) < 0 ||
	    sq_json_opt_real(s, "high_freq_factor", &r->high_freq, err) < 0 ||
	    sq_json_opt_real(s, "beta_fast", &r->beta_fast, err) < 0 ||
	    sq_json_opt_real(s, "beta_slow", &r->beta_slow, err) < 0 ||
	    sq_json_opt_real(s, "attention_factor", &r->attention_factor,
	    err) < 0 ||
	    sq_json_opt_real(s, "mscale", &r->mscale, err) < 0 ||
	    sq_json_opt_real(s, "mscale_all_dim", &r->mscale_all, err) < 0 ||
	    sq_json_opt_bool(s, "truncate", &r->truncate, err) < 0 ||
	    sq_json_opt_uint(s, "original_max_position_embeddings",
	    &r->original_context, err) < 0)
		return -1;
	return check_rope(r, err);
}

/* Mistral says sliding_window; Qwen says use_sliding_window too, and from which
 * layer on. */
static int
parse_window(struct sq_config *c, const json_t *o, char *err)
{
	int use = 1;

	c->window = c->window_from = 0;
	if (strncmp(c->arch->name, "Qwen", 4) == 0) {
		use = 0;
		c->window_from = c->layers;
		if (sq_json_opt_bool(o, "use_sliding_window", &use, err) < 0 ||
		    sq_json_opt_uint(o, "max_window_layers", &c->window_from,
		    err) < 0)
			return -1;
	} else if (strcmp(c->arch->name, "MistralForCausalLM") != 0 &&
	    strcmp(c->arch->name, "MixtralForCausalLM") != 0)
		use = 0;
	if (!use)
		return 0;
	if (sq_json_opt_uint(o, "sliding_window", &c->window, err) < 0)
		return -1;
	if (c->window > 1 << 28)
		return sq_fail(err, "'sliding_window' is out of bounds");
	return 0;
}

/* mlp_only_layers: those that are as in a model without experts. */
static int
parse_dense_layers(struct sq_config *c, const json_t *o, char *err)
{
	const json_t *list = json_object_get(o, "mlp_only_layers"), *v;
	json_int_t n;
	size_t i;

	json_array_foreach(list, i, v) {
		n = json_integer_value(v);
		if (!json_is_integer(v) || n < 0 || n >= SQ_MAX_LAYERS)
			return sq_fail(err, "'mlp_only_layers' is out of "
			    "bounds");
		c->dense[n / 8] |= (unsigned char)(1 << n % 8);
	}
	return 0;
}

static int
parse_experts(struct sq_config *c, const json_t *o, char *err)
{
	const struct sq_moe_names *m = c->arch->moe;

	if (m == NULL)
		return 0;
	c->renormalize = m->renormalize;
	if (bounded(o, m->count, &c->experts, 0, 1, SQ_MAX_EXPERTS,
	    err) < 0 || bounded(o, "num_experts_per_tok", &c->chosen, 0, 1,
	    c->experts, err) < 0 || bounded(o, m->width, &c->expert_ffn, 0, 1,
	    1 << 20, err) < 0 || bounded(o, "decoder_sparse_step",
	    &c->moe_step, 1, 1, SQ_MAX_LAYERS, err) < 0)
		return -1;
	if (c->experts * c->layers > SQ_MAX_EXPERTS_ALL)
		return sq_fail(err, "'%s' is out of bounds", m->count);
	if (!m->renormalize && sq_json_opt_bool(o, "norm_topk_prob",
	    &c->renormalize, err) < 0)
		return -1;
	return parse_dense_layers(c, o, err);
}

int
sq_config_has_experts(const struct sq_config *c, uint64_t layer)
{
	return c->experts > 0 && (layer + 1) % c->moe_step == 0 &&
	    (c->dense[layer / 8] >> layer % 8 & 1) == 0;
}

/* A token id, or the first of several. */
static int64_t
token_id(const json_t *o, const char *key)
{
	const json_t *v = json_object_get(o, key);

	if (json_is_array(v))
		v = json_array_get(v, 0);
	return json_is_integer(v) ? (int64_t)json_integer_value(v) : -1;
}

static int
parse_rest(struct sq_config *c, const json_t *o, char *err)
{
	const json_t *act = json_object_get(o, "hidden_act");
	int bias = c->arch->qkv_bias, attention_bias = 0;

	c->eps = 1e-6;
	c->tied = c->arch->tied;
	if (act != NULL && (!json_is_string(act) ||
	    strcmp(json_string_value(act), "silu") != 0))
		return sq_fail(err, "'hidden_act' is not silu");
	if (sq_json_opt_real(o, "rms_norm_eps", &c->eps, err) < 0 ||
	    sq_json_opt_bool(o, "tie_word_embeddings", &c->tied, err) < 0 ||
	    sq_json_opt_bool(o, "attention_bias", &attention_bias, err) < 0 ||
	    sq_json_opt_bool(o, "mlp_bias", &c->mlp_bias, err) < 0)
		return -1;
	if (!(c->eps > 0 && c->eps < 1))
		return sq_fail(err, "'rms_norm_eps' is out of bounds");
	c->qkv_bias = bias || attention_bias;
	c->o_bias = attention_bias && !bias;
	c->bos = token_id(o, "bos_token_id");
	c->eos = token_id(o, "eos_token_id");
	return 0;
}

int
sq_config_parse(struct sq_config *c, const char *json, size_t len, char *err)
{
	char why[SQ_ERR];
	json_t *o = sq_json_object(json, len, why);
	int r = -1;

	memset(c, 0, sizeof(*c));
	if (o != NULL && (c->arch = find_arch(o, why)) != NULL &&
	    parse_shape(c, o, why) == 0 && parse_rope(c, o, why) == 0 &&
	    parse_window(c, o, why) == 0 && parse_experts(c, o, why) == 0 &&
	    parse_rest(c, o, why) == 0)
		r = 0;
	json_decref(o);
	return r == 0 ? 0 : sq_fail(err, "config.json: %s", why);
}

/* ---- the tensors of a forward pass ---- */

struct list {
	struct sq_slot *slot;
	size_t n;
};

static struct sq_slot *
add(struct list *l, enum sq_role role, uint64_t layer, int required)
{
	struct sq_slot *s = &l->slot[l->n++];

	memset(s, 0, sizeof(*s));
	s->role = role;
	s->layer = layer;
	s->expert = -1;
	s->required = required;
	return s;
}

static void
vector(struct list *l, enum sq_role role, uint64_t layer, const char *name,
    uint64_t n)
{
	struct sq_slot *s = add(l, role, layer, 1);

	s->ndim = 1;
	s->dim[0] = n;
	snprintf(s->name, sizeof(s->name), "model.layers.%ju.%s.weight",
	    (uintmax_t)layer, name);
}

static void
linear(struct list *l, enum sq_role role, uint64_t layer, const char *name,
    uint64_t out, uint64_t in, int bias)
{
	struct sq_slot *s = add(l, role, layer, 1);

	s->linear = 1;
	s->ndim = 2;
	s->dim[0] = out;
	s->dim[1] = in;
	snprintf(s->name, sizeof(s->name), "model.layers.%ju.%s.weight",
	    (uintmax_t)layer, name);
	if (!bias)
		return;
	s = add(l, role, layer, 1);
	s->bias = 1;
	s->ndim = 1;
	s->dim[0] = out;
	snprintf(s->name, sizeof(s->name), "model.layers.%ju.%s.bias",
	    (uintmax_t)layer, name);
}

static void
outer(struct list *l, enum sq_role role, const char *name, int required,
    uint64_t rows, uint64_t cols)
{
	struct sq_slot *s = add(l, role, 0, required);

	s->ndim = rows == 0 ? 1 : 2;
	s->dim[0] = rows == 0 ? cols : rows;
	s->dim[1] = cols;
	snprintf(s->name, sizeof(s->name), "%s", name);
}

/* The router is small and decides much: not one of the linear layers that are
 * quantized. */
static void
experts(struct list *l, const struct sq_config *c, uint64_t i)
{
	const struct sq_moe_names *m = c->arch->moe;
	const struct { enum sq_role role; const char *name; int down; } w[] = {
		{ SQ_GATE, m->gate, 0 }, { SQ_UP, m->up, 0 },
		{ SQ_DOWN, m->down, 1 }
	};
	char name[SQ_NAME / 2];
	uint64_t e;
	int j;

	linear(l, SQ_ROUTER, i, m->router, c->experts, c->dim, 0);
	l->slot[l->n - 1].linear = 0;
	for (e = 0; e < c->experts; e++)
		for (j = 0; j < 3; j++) {
			snprintf(name, sizeof(name), m->expert, (uintmax_t)e,
			    w[j].name);
			linear(l, w[j].role, i, name,
			    w[j].down ? c->dim : c->expert_ffn,
			    w[j].down ? c->expert_ffn : c->dim, 0);
			l->slot[l->n - 1].expert = (int64_t)e;
		}
}

static void
block(struct list *l, const struct sq_config *c, uint64_t i)
{
	uint64_t q = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim;

	vector(l, SQ_ATTN_NORM, i, "input_layernorm", c->dim);
	linear(l, SQ_Q, i, "self_attn.q_proj", q, c->dim, c->qkv_bias);
	linear(l, SQ_K, i, "self_attn.k_proj", kv, c->dim, c->qkv_bias);
	linear(l, SQ_V, i, "self_attn.v_proj", kv, c->dim, c->qkv_bias);
	if (c->arch->qk_norm) {
		vector(l, SQ_Q_NORM, i, "self_attn.q_norm", c->head_dim);
		vector(l, SQ_K_NORM, i, "self_attn.k_norm", c->head_dim);
	}
	linear(l, SQ_O, i, "self_attn.o_proj", c->dim, q, c->o_bias);
	vector(l, SQ_FFN_NORM, i, "post_attention_layernorm", c->dim);
	if (sq_config_has_experts(c, i)) {
		experts(l, c, i);
		return;
	}
	linear(l, SQ_GATE, i, "mlp.gate_proj", c->ffn, c->dim, c->mlp_bias);
	linear(l, SQ_UP, i, "mlp.up_proj", c->ffn, c->dim, c->mlp_bias);
	linear(l, SQ_DOWN, i, "mlp.down_proj", c->dim, c->ffn, c->mlp_bias);
}

#define SLOTS_PER_BLOCK	18	/* at most: 9 weights, 7 biases, 2 norms */

struct sq_slot *
sq_config_slots(const struct sq_config *c, size_t *n)
{
	struct list l = { NULL, 0 };
	uint64_t i;

	l.slot = calloc(c->layers * (SLOTS_PER_BLOCK + 3 * c->experts) + 3,
	    sizeof(*l.slot));
	if (l.slot == NULL)
		return NULL;
	outer(&l, SQ_EMBED, "model.embed_tokens.weight", 1, c->vocab, c->dim);
	for (i = 0; i < c->layers; i++)
		block(&l, c, i);
	outer(&l, SQ_NORM, "model.norm.weight", 1, 0, c->dim);
	outer(&l, SQ_HEAD, "lm_head.weight", !c->tied, c->vocab, c->dim);
	*n = l.n;
	return l.slot;
}

/* The first slot of that layer or a later one, among those of the blocks. */
static size_t
first_of(const struct sq_slot *s, size_t n, uintmax_t layer)
{
	size_t low = 1, high = n - 2, mid;

	while (low < high) {
		mid = (low + high) / 2;
		if (s[mid].layer < layer)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/*
 * The embedding, the blocks, the norm and the head: a block's number says where
 * to look, so that a file with a million names is no work.
 */
const struct sq_slot *
sq_slot_find(const struct sq_slot *s, size_t n, const char *name)
{
	uintmax_t layer;
	size_t i = n - 2, end = n;

	if (sscanf(name, "model.layers.%9ju", &layer) == 1) {
		i = first_of(s, n, layer);
		end = first_of(s, n, layer + 1);
	} else if (strcmp(s[0].name, name) == 0)
		return &s[0];
	for (; i < end; i++)
		if (strcmp(s[i].name, name) == 0)
			return &s[i];
	return NULL;
}
