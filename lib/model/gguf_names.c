/* Names and places in a GGUF file; see gguf_names.h. */
#include <stdio.h>
#include <string.h>

#include "model/gguf_names.h"

/* The first with a name there is the one that it stands for. */
static const struct {
	const char *hf, *gguf;
	int experts;
} archs[] = {
	{ "LlamaForCausalLM", "llama", 0 },
	{ "MistralForCausalLM", "llama", 0 },
	{ "MixtralForCausalLM", "llama", 1 },
	{ "Qwen2ForCausalLM", "qwen2", 0 },
	{ "Qwen3ForCausalLM", "qwen3", 0 },
	{ "Qwen3MoeForCausalLM", "qwen3moe", 1 },
};

#define NARCHS	(sizeof(archs) / sizeof(archs[0]))

static const char *const roles[] = {
	[SQ_EMBED] = "token_embd", [SQ_ATTN_NORM] = "attn_norm",
	[SQ_Q] = "attn_q", [SQ_K] = "attn_k", [SQ_V] = "attn_v",
	[SQ_Q_NORM] = "attn_q_norm", [SQ_K_NORM] = "attn_k_norm",
	[SQ_O] = "attn_output", [SQ_FFN_NORM] = "ffn_norm",
	[SQ_GATE] = "ffn_gate", [SQ_UP] = "ffn_up", [SQ_DOWN] = "ffn_down",
	[SQ_NORM] = "output_norm", [SQ_HEAD] = "output",
	[SQ_ROUTER] = "ffn_gate_inp",
};

const char *
sq_gguf_arch(const struct sq_config *c)
{
	size_t i;

	for (i = 0; i < NARCHS; i++)
		if (strcmp(archs[i].hf, c->arch->name) == 0)
			return archs[i].gguf;
	return NULL;
}

const char *
sq_gguf_hf_arch(const struct sq_gguf_str *arch, int experts)
{
	size_t i;

	for (i = 0; i < NARCHS; i++)
		if (archs[i].experts == experts && arch->n == strlen(archs[i].gguf) &&
		    memcmp(arch->p, archs[i].gguf, arch->n) == 0)
			return archs[i].hf;
	return NULL;
}

void
sq_gguf_slot_name(const struct sq_slot *s, char name[SQ_GGUF_NAME])
{
	const char *end = s->bias ? "bias" : "weight";

	if (s->role == SQ_EMBED || s->role == SQ_NORM || s->role == SQ_HEAD)
		snprintf(name, SQ_GGUF_NAME, "%s.%s", roles[s->role], end);
	else
		snprintf(name, SQ_GGUF_NAME, "blk.%ju.%s%s.%s",
		    (uintmax_t)s->layer, roles[s->role],
		    s->expert < 0 ? "" : "_exps", end);
}

uint64_t
sq_gguf_permuted(const struct sq_config *c, const struct sq_slot *s)
{
	const char *arch = sq_gguf_arch(c);

	if (arch == NULL || strcmp(arch, "llama") != 0)
		return 0;
	return s->role == SQ_Q ? c->heads : s->role == SQ_K ? c->kv_heads : 0;
}
