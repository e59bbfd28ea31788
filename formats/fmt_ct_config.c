/*
 * The quantization_config of compressed-tensors; see fmt_compressed_tensors.h.
 * Its readers refuse keys that they do not know: none is written that an old
 * one lacks.
 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <string.h>

#include "formats/fmt_compressed_tensors.h"
#include "formats/fmt_json.h"

#define MATCH_LIMIT	100000		/* a name is short */
#define MAX_GROUPS	4096
#define MAX_TARGETS	65536

static const char *const formats[SQ_CT_FORMATS] = {
	[SQ_CT_PACKED] = "pack-quantized", [SQ_CT_INT] = "int-quantized",
	[SQ_CT_FLOAT] = "float-quantized",
	[SQ_CT_MXFP4] = "mxfp4-pack-quantized",
};

static const char *const strategies[] = {
	[SQ_CT_TENSOR] = "tensor", [SQ_CT_CHANNEL] = "channel",
	[SQ_CT_GROUP] = "group", [SQ_CT_BLOCK] = "block",
};

const char *
sq_ct_format_name(enum sq_ct_format f)
{
	return formats[f];
}

static json_t *
args(int bits, int is_float, int symmetric, const char *strategy,
    uint64_t group, int block, int dynamic)
{
	json_t *o = json_pack("{s:n, s:n, s:b, s:n, s:i, s:s, s:{}, s:s, s:b, "
	    "s:s}", "actorder", "block_structure", "dynamic", dynamic,
	    "group_size", "num_bits", bits, "observer", "minmax",
	    "observer_kwargs", "strategy", strategy, "symmetric", symmetric,
	    "type", is_float ? "float" : "int");

	if (block)
		json_object_set_new(o, "block_structure",
		    json_pack("[i, i]", 128, 128));
	if (group != 0)
		json_object_set_new(o, "group_size",
		    json_integer((json_int_t)group));
	if (dynamic)			/* nothing observes them */
		json_object_set_new(o, "observer", json_null());
	return o;
}

static json_t *
activations(const struct sq_ct_scheme *s)
{
	int is_float = s->act == SQ_CT_ACT_FP8;

	if (s->act == SQ_CT_ACT_NONE)
		return json_null();
	if (s->act_static)
		return args(8, is_float, 1, "tensor", 0, 0, 0);
	if (s->strategy == SQ_CT_BLOCK)
		return args(8, is_float, 1, "group", 128, 0, 1);
	return args(8, is_float, 1, "token", 0, 0, 1);
}

json_t *
sq_ct_group_json(const struct sq_ct_scheme *s, json_t *targets)
{
	int is_float = s->format == SQ_CT_FLOAT || s->format == SQ_CT_MXFP4;

	return json_pack("{s:s, s:o, s:n, s:o, s:o}",
	    "format", formats[s->format], "input_activations", activations(s),
	    "output_activations", "targets", targets, "weights",
	    args(s->bits, is_float, s->symmetric, strategies[s->strategy],
	    s->group, s->strategy == SQ_CT_BLOCK, 0));
}

json_t *
sq_ct_config_json(json_t *groups, json_t *ignore, const char *format, int kv)
{
	return json_pack("{s:o, s:s, s:n, s:o, s:o, s:s, s:s, s:{}, s:{}, s:s}",
	    "config_groups", groups, "format", format,
	    "global_compression_ratio", "ignore", ignore, "kv_cache_scheme",
	    kv ? args(8, 1, 1, "tensor", 0, 0, 0) : json_null(),
	    "quant_method", "compressed-tensors", "quantization_status",
	    "compressed", "sparsity_config", "transform_config", "version",
	    "0.13.0");
}

/* How well a target fits: 3 by name, 2 by expression, 1 by class; 0; -1. */
static int
fits(const char *target, const char *module, char *err)
{
	pcre2_match_context *limits;
	pcre2_match_data *found;
	pcre2_code *re;
	PCRE2_SIZE at;
	int code, r;

	if (strcmp(target, module) == 0)
		return 3;
	if (strncmp(target, "re:", 3) != 0)
		return strcmp(target, "Linear") == 0;
	re = pcre2_compile((PCRE2_SPTR)target + 3, PCRE2_ZERO_TERMINATED,
	    PCRE2_ANCHORED, &code, &at, NULL);
	if (re == NULL)
		return sq_fail(err, "'targets': '%s': not a regular "
		    "expression", target);
	limits = pcre2_match_context_create(NULL);
	found = pcre2_match_data_create_from_pattern(re, NULL);
	r = PCRE2_ERROR_NOMEMORY;
	if (limits != NULL && found != NULL) {
		pcre2_set_match_limit(limits, MATCH_LIMIT);
		r = pcre2_match(re, (PCRE2_SPTR)module, strlen(module), 0, 0,
		    found, limits);
	}
	pcre2_match_data_free(found);
	pcre2_match_context_free(limits);
	pcre2_code_free(re);
	if (r < 0 && r != PCRE2_ERROR_NOMATCH)
		return sq_fail(err, "'targets': '%s': no answer for '%s'",
		    target, module);
	return r > 0 ? 2 : 0;
}

static int
group_fits(const json_t *group, const char *module, char *err)
{
	const json_t *t, *targets = json_object_get(group, "targets");
	int r, best = 0;
	size_t i;

	if (!json_is_array(targets) ||
	    json_array_size(targets) > MAX_TARGETS)
		return sq_fail(err, "'targets' is not a list");
	json_array_foreach(targets, i, t) {
		if (!json_is_string(t))
			return sq_fail(err, "'targets': not names");
		if ((r = fits(json_string_value(t), module, err)) < 0)
			return -1;
		best = r > best ? r : best;
	}
	return best;
}

static int
parse_act(struct sq_ct_scheme *s, const json_t *group, char *err)
{
	const json_t *a = json_object_get(group, "input_activations");
	const char *type;
	uint64_t bits;

	if (a == NULL || json_is_null(a))
		return 0;
	if (sq_json_uint(a, "num_bits", &bits, err) < 0 ||
	    sq_json_string(a, "type", &type, err) < 0)
		return -1;
	if (bits == 8)
		s->act = strcmp(type, "float") == 0 ? SQ_CT_ACT_FP8 :
		    SQ_CT_ACT_INT8;
	s->act_static = json_is_false(json_object_get(a, "dynamic"));
	return 0;
}

static int
parse_group(struct sq_ct_scheme *s, const json_t *group, char *err)
{
	const json_t *w = json_object_get(group, "weights");
	uint64_t bits;

	memset(s, 0, sizeof(*s));
	s->symmetric = 1;
	if (!json_is_object(w))
		return sq_fail(err, "'weights' of a group is missing");
	if (sq_json_uint(w, "num_bits", &bits, err) < 0 ||
	    sq_json_opt_bool(w, "symmetric", &s->symmetric, err) < 0)
		return -1;
	if (bits < 2 || bits > 8)
		return sq_fail(err, "'num_bits' is %ju", (uintmax_t)bits);
	s->bits = (int)bits;
	return parse_act(s, group, err);
}

int
sq_ct_find(struct sq_ct_scheme *s, const json_t *config, const char *module,
    char *err)
{
	json_t *groups = json_object_get(config, "config_groups");
	const json_t *best = NULL;
	const char *key;
	int r, fit = 0;
	json_t *g;

	if (!json_is_object(groups) || json_object_size(groups) > MAX_GROUPS)
		return sq_fail(err, "'config_groups' is not an object");
	json_object_foreach(groups, key, g) {
		if ((r = group_fits(g, module, err)) < 0)
			return -1;
		if (r > fit) {
			fit = r;
			best = g;
		}
	}
	if (best == NULL)
		return 0;
	return parse_group(s, best, err) < 0 ? -1 : 1;
}
