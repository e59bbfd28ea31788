/* Schemas of the cache; see kv_schema.h. */
#include <string.h>

#include "schema/kv_schema.h"

#define PAGE	64

/* The names of the interface for plain values are fp16, fp32. */
static const char *
dtype_name(const struct sq_kv_form *f)
{
	const char *name = sq_kv_format_name(f);

	return strcmp(name, "f16") == 0 ? "fp16" :
	    strcmp(name, "f32") == 0 ? "fp32" : name;
}

json_t *
sq_kv_schema(const struct sq_config *c, const struct sq_kv_policy *p)
{
	return json_pack("{s:s, s:i, s:I, s:I, s:I, s:s, s:s}",
	    "dtype", dtype_name(&p->k), "page_size", PAGE,
	    "num_layers", (json_int_t)c->layers,
	    "num_heads", (json_int_t)c->kv_heads,
	    "head_dim", (json_int_t)c->head_dim,
	    "scale_dtype", "fp16", "layout", "paged");
}

static json_t *
ranges(const struct sq_kv_policy *p)
{
	json_t *list = json_array();
	size_t i;

	for (i = 0; list != NULL && i < p->nrules; i++)
		json_array_append_new(list, json_pack("{s:I, s:I, s:s, s:s}",
		    "first", (json_int_t)p->rule[i].first,
		    "last", (json_int_t)p->rule[i].last,
		    "key_dtype", dtype_name(&p->rule[i].k),
		    "value_dtype", dtype_name(&p->rule[i].v)));
	return list;
}

json_t *
sq_kv_quant_schema(const struct sq_config *c, const struct sq_kv_policy *p)
{
	json_t *j = sq_kv_schema(c, p), *more;
	int grouped = sq_page_grouped(p->k.grid);
	int plain = p->k.grid == SQ_PAGE_PLAIN;
	struct sq_kv_form near = { SQ_PAGE_PLAIN, p->near };
	char text[SQ_KV_TEXT];

	sq_kv_policy_text(p, text);
	more = json_pack("{s:s, s:s, s:s, s:s, s:i, s:b, s:s, s:I, s:I, s:s, "
	    "s:s, s:o, s:f, s:s}", "policy", text,
	    "key_dtype", dtype_name(&p->k), "value_dtype", dtype_name(&p->v),
	    "granularity", plain ? "none" : p->by_channel ? "channel_group" :
	    grouped ? "group" : "token_head",
	    "group_size", grouped ? SQ_PAGE_GROUP : 0, "symmetric", !grouped,
	    "range_table", plain ? "none" : "page",
	    "sink_tokens", (json_int_t)p->sink,
	    "window_tokens", (json_int_t)p->window,
	    "near_dtype", dtype_name(&near),
	    "rotation", p->hadamard ? "hadamard" : "none",
	    "layers", ranges(p), "bytes_per_token", sq_kv_policy_bytes(p,
	    (size_t)c->layers, (size_t)c->kv_heads, (size_t)c->head_dim),
	    "block_hash", "sha256-128");
	if (j != NULL && more != NULL)
		json_object_update(j, more);
	json_decref(more);
	return j;
}
