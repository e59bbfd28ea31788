/* The keys of a profile; see profile_fields.h. */
#include <stddef.h>
#include <string.h>

#include "schema/profile_fields.h"

const char *const sq_wformat_names[] = { "none", "int", "fp8_e4m3",
	"fp8_e5m2", "mxfp4", "q4_0", "iq4_nl", "q4_k", "q5_k", "q6_k",
	"uint4m", "uint5m", "fp4", "iq4_xs", NULL };
const char *const sq_sparsity_names[] = { "none", "2:4", "4:8", "block",
	"unstructured", NULL };
const char *const sq_profile_backends[] = { "cuda", "ascend", "cambricon",
	"hygon", "kunlunxin", "cpu", NULL };
const char *const sq_algorithm_names[] = { "rtn", "gptq", "awq", "smooth",
	"rotate", NULL };
const char *const sq_scale_names[] = { "tool", "absmax", "mse",
	"weighted", NULL };
const char *const sq_granularity_names[] = { "token", "tensor", NULL };
const char *const sq_kv_format_names[] = { "fp16", "bf16", "fp8_e4m3",
	"fp8_e5m2", "int8", "int4", "int2", NULL };

#define AT(m)	offsetof(struct sq_profile, m)
#define BITS(n, m)							\
	{ .name = n, .type = SQ_FIELD_BITS, .at = AT(m), .required = 1 }
#define UINT(n, m, l, h)						\
	{ .name = n, .type = SQ_FIELD_UINT, .at = AT(m), .lo = l, .hi = h }
#define REAL(n, m, l, h)						\
	{ .name = n, .type = SQ_FIELD_REAL, .at = AT(m), .lo = l, .hi = h }
#define BOOL(n, m)	{ .name = n, .type = SQ_FIELD_BOOL, .at = AT(m) }
#define TEXT(n, m)	{ .name = n, .type = SQ_FIELD_TEXT, .at = AT(m) }
#define WORD(n, m, w)							\
	{ .name = n, .type = SQ_FIELD_WORD, .at = AT(m), .words = w }
#define RULE(n)		{ .name = n, .type = SQ_FIELD_RULE }
#define MAP(n, s)	{ .name = n, .type = SQ_FIELD_MAP, .sub = s }
#define END		{ .type = SQ_FIELD_END }

static const struct sq_field activation[] = {
	WORD("format", activation.format, sq_wformat_names),
	WORD("granularity", activation.granularity, sq_granularity_names),
	BOOL("dynamic", activation.dynamic),
	BOOL("symmetric", activation.symmetric),
	END
};

static const struct sq_field kv[] = {
	WORD("format", kv.format, sq_kv_format_names),
	WORD("prefill_format", kv.prefill_format, sq_kv_format_names),
	UINT("sink", kv.sink, 0, 64),
	UINT("window", kv.window, 0, 1 << 24),
	BOOL("hadamard", kv.hadamard),
	END
};

const struct sq_field sq_extension_fields[] = {
	TEXT("id", id),
	TEXT("description", description),
	{ .name = "algorithm", .type = SQ_FIELD_ALGORITHM,
	    .words = sq_algorithm_names },
	BOOL("sequential", sequential),
	RULE("format"),
	RULE("bits"),
	RULE("group_size"),
	RULE("symmetric"),
	RULE("scale"),
	MAP("activation", activation),
	MAP("kv", kv),
	UINT("attention_chunk", attention_chunk, 0, 1 << 24),
	UINT("calibration_length", calibration_length, 1, 1 << 24),
	REAL("accuracy_limit", accuracy_limit, 0, 1e6),
	{ .name = "overrides", .type = SQ_FIELD_OVERRIDES },
	END
};

const struct sq_field sq_spec_fields[] = {
	BITS("weight_bits", weight_bits),
	BITS("activation_bits", activation_bits),
	BITS("kv_bits_prefill", kv_bits_prefill),
	BITS("kv_bits_decode", kv_bits_decode),
	REAL("sparsity_ratio", sparsity_ratio, 0, 1),
	WORD("sparsity_pattern", sparsity_pattern, sq_sparsity_names),
	WORD("kernel_backend", kernel_backend, sq_profile_backends),
	TEXT("calibration_dataset", calibration_dataset),
	UINT("calibration_samples", calibration_samples, 0, 1 << 24),
	UINT("max_sequence_length", max_sequence_length, 1, 1e12),
	END
};

const struct sq_field *
sq_field_find(const struct sq_field *f, const char *key, size_t len)
{
	for (; f->type != SQ_FIELD_END; f++)
		if (strlen(f->name) == len && memcmp(f->name, key, len) == 0)
			return f;
	return NULL;
}

/* "kv.format" is a path below the extensions: they need not be named. */
static size_t
line_below(const struct sq_yaml *y, const char *key)
{
	const char *dot = strchr(key, '.');
	size_t n = dot == NULL ? strlen(key) : (size_t)(dot - key), i;

	for (i = 0; y->kind == SQ_YAML_MAP && i < y->n; i += 2) {
		if (strlen(y->item[i]->text) != n ||
		    memcmp(y->item[i]->text, key, n) != 0)
			continue;
		if (dot != NULL)
			return line_below(y->item[i + 1], dot + 1);
		return y->item[i]->line;
	}
	return 0;
}

size_t
sq_profile_line(const struct sq_profile *p, const char *key)
{
	const struct sq_yaml *e;
	size_t line;

	if (p->tree == NULL)
		return 0;
	if ((line = line_below(p->tree, key)) != 0)
		return line;
	e = sq_yaml_get(p->tree, "extensions");
	if (e != NULL && (line = line_below(e, key)) != 0)
		return line;
	return p->tree->line;
}
