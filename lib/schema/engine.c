/* What an engine can multiply and cache; see engine.h. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "schema/engine.h"
#include "schema/presets.h"

#define MAX_TABLE	((size_t)1 << 18)

const char *const sq_input_names[] = { "none", "int8-token", "int8-tensor",
	"int8-static", "fp8-token", "fp8-tensor", "fp8-static", "int4-token",
	NULL };

static int
find_word(const char *const *words, const char *text)
{
	int i;

	for (i = 0; words[i] != NULL; i++)
		if (strcmp(words[i], text) == 0)
			return i;
	return -1;
}

/* A list of words as a set of bits. */
static int
read_set(const struct sq_yaml *y, const char *const *words, unsigned *set)
{
	size_t i;
	int w;

	if (y->kind != SQ_YAML_LIST)
		return -1;
	for (*set = 0, i = 0; i < y->n; i++) {
		if (y->item[i]->kind != SQ_YAML_SCALAR ||
		    (w = find_word(words, y->item[i]->text)) < 0)
			return -1;
		*set |= 1u << w;
	}
	return 0;
}

static int
read_bits(const struct sq_yaml *y, unsigned *set)
{
	uint64_t b;
	size_t i;

	if (y->kind != SQ_YAML_LIST)
		return -1;
	for (*set = 0, i = 0; i < y->n; i++) {
		if (sq_yaml_uint(y->item[i], &b) < 0 || b > 8)
			return -1;
		*set |= 1u << b;
	}
	return 0;
}

static int
read_groups(const struct sq_yaml *y, struct sq_engine_row *r)
{
	size_t i;

	if (y->kind != SQ_YAML_LIST || y->n > SQ_ENGINE_GROUPS)
		return -1;
	for (i = 0; i < y->n; i++)
		if (y->item[i]->kind == SQ_YAML_SCALAR &&
		    strcmp(y->item[i]->text, "tensor") == 0)
			r->per_tensor = 1;
		else if (sq_yaml_uint(y->item[i], &r->group[r->ngroups++]) < 0)
			return -1;
	return 0;
}

static int
read_row_key(const char *key, const struct sq_yaml *y, struct sq_engine_row *r)
{
	if (strcmp(key, "format") == 0)
		return y->kind != SQ_YAML_SCALAR || (r->format =
		    find_word(sq_wformat_names, y->text)) < 0 ? -1 : 0;
	if (strcmp(key, "bits") == 0)
		return read_bits(y, &r->bits);
	if (strcmp(key, "groups") == 0)
		return read_groups(y, r);
	if (strcmp(key, "group_multiple") == 0)
		return sq_yaml_uint(y, &r->group_multiple);
	if (strcmp(key, "symmetric") == 0)
		return sq_yaml_bool(y, &r->symmetric);
	if (strcmp(key, "activations") == 0)
		return read_set(y, sq_input_names, &r->activations);
	if (strcmp(key, "columns") == 0)
		return sq_yaml_uint(y, &r->columns);
	if (strcmp(key, "rows") == 0)
		return sq_yaml_uint(y, &r->rows);
	return -1;
}

static int
read_rows(const struct sq_yaml *y, struct sq_engine *e, size_t *line)
{
	const struct sq_yaml *row;
	size_t i, k;

	*line = y->line;
	if (y->kind != SQ_YAML_LIST || y->n > SQ_ENGINE_ROWS)
		return -1;
	for (i = 0; i < y->n; i++) {
		row = y->item[i];
		*line = row->line;
		if (row->kind != SQ_YAML_MAP)
			return -1;
		for (k = 0; k < row->n; k += 2) {
			*line = row->item[k]->line;
			if (read_row_key(row->item[k]->text,
			    row->item[k + 1], &e->row[i]) < 0)
				return -1;
		}
	}
	e->nrows = (int)y->n;
	return 0;
}

static int
read_key(const char *key, const struct sq_yaml *y, struct sq_engine *e,
    size_t *line)
{
	*line = y->line;
	if (strcmp(key, "weights") == 0)
		return read_rows(y, e, line);
	if (strcmp(key, "kv") == 0)
		return read_set(y, sq_kv_format_names, &e->kv);
	if (strcmp(key, "sparsity") == 0)
		return read_set(y, sq_sparsity_names, &e->sparsity);
	if (strcmp(key, "tensor_parallel") == 0)
		return sq_yaml_bool(y, &e->tensor_parallel);
	if (strcmp(key, "together") == 0)
		return sq_yaml_bool(y, &e->together);
	if (strcmp(key, "head") == 0)
		return sq_yaml_bool(y, &e->head);
	if (strcmp(key, "activation_zeros") == 0)
		return sq_yaml_bool(y, &e->activation_zeros);
	if (strcmp(key, "f16_scales") == 0)
		return sq_yaml_bool(y, &e->f16_scales);
	if (strcmp(key, "kv_exact") == 0)
		return sq_yaml_bool(y, &e->kv_exact);
	if (strcmp(key, "engine") != 0 || y->kind != SQ_YAML_SCALAR ||
	    strlen(y->text) >= sizeof(e->name))
		return -1;
	snprintf(e->name, sizeof(e->name), "%s", y->text);
	return 0;
}

static int
parse(struct sq_engine *e, const char *label, const char *text, size_t len,
    char *err)
{
	struct sq_yaml *tree;
	char why[SQ_ERR];
	size_t i, line;
	int r = 0;

	memset(e, 0, sizeof(*e));
	if ((tree = sq_yaml_parse(text, len, why)) == NULL)
		return sq_fail(err, "%s:%s", label, why);
	if (tree->kind != SQ_YAML_MAP)
		r = sq_fail(err, "%s:%zu: not a map", label, tree->line);
	for (i = 0; r == 0 && tree->kind == SQ_YAML_MAP && i < tree->n;
	    i += 2)
		if (read_key(tree->item[i]->text, tree->item[i + 1], e,
		    &line) < 0)
			r = sq_fail(err, "%s:%zu: not a table of an engine: "
			    "below '%.60s'", label, line,
			    tree->item[i]->text);
	if (r == 0 && e->name[0] == '\0')
		r = sq_fail(err, "%s:1: 'engine' is missing", label);
	sq_yaml_free(tree);
	return r;
}

int
sq_engine_load(struct sq_engine *e, const char *name, char *err)
{
	const struct sq_preset *s;
	size_t len;
	char *text;
	int r;

	if (strchr(name, '/') == NULL) {
		for (s = sq_engines; s->name != NULL; s++)
			if (strcmp(s->name, name) == 0)
				return parse(e, name, s->text,
				    strlen(s->text), err);
		return sq_fail(err, "'%s': no such engine or backend", name);
	}
	if ((text = sq_read_file(AT_FDCWD, name, MAX_TABLE, &len,
	    err)) == NULL)
		return -1;
	r = parse(e, name, text, len, err);
	free(text);
	return r;
}

const char *
sq_engine_name(size_t i)
{
	return sq_engines[i].name;
}

enum sq_input_kind
sq_profile_input(const struct sq_profile *p)
{
	const struct sq_profile_activation *a = &p->activation;

	if (p->activation_bits == 16)
		return SQ_INPUT_NONE;
	if (p->activation_bits == 4)
		return SQ_INPUT_INT4_TOKEN;
	if (a->format == SQ_WF_INT)
		return !a->dynamic ? SQ_INPUT_INT8_STATIC : a->granularity ==
		    SQ_PER_TENSOR ? SQ_INPUT_INT8_TENSOR : SQ_INPUT_INT8_TOKEN;
	return !a->dynamic ? SQ_INPUT_FP8_STATIC : a->granularity ==
	    SQ_PER_TENSOR ? SQ_INPUT_FP8_TENSOR : SQ_INPUT_FP8_TOKEN;
}

/* The formats whose groups are part of them are told apart by name alone. */
static int
takes_group(const struct sq_engine_row *w, const struct sq_profile_rule *r)
{
	int i;

	if (w->ngroups == 0 && w->group_multiple == 0 && !w->per_tensor)
		return 1;
	if (r->group_rows == 0)
		return w->per_tensor;
	for (i = 0; i < w->ngroups; i++)
		if (w->group[i] == r->group_cols)
			return 1;
	return w->group_multiple != 0 && r->group_cols != 0 &&
	    r->group_cols % w->group_multiple == 0;
}

/* How far a row goes along: 5 is all the way. */
static int
agreement(const struct sq_engine_row *w, const struct sq_profile_rule *r,
    enum sq_input_kind act)
{
	if (w->format != r->format)
		return 0;
	if (w->format == SQ_WF_INT && !(w->bits >> r->bits & 1))
		return 1;
	if (!(w->activations >> act & 1))
		return 2;
	if (w->symmetric && !r->symmetric)
		return 3;
	return takes_group(w, r) ? 5 : 4;
}

const struct sq_engine_row *
sq_engine_takes(const struct sq_engine *e, const struct sq_profile_rule *r,
    enum sq_input_kind act, char *why)
{
	char group[32] = "";
	int i, a, best = 0;

	for (i = 0; i < e->nrows; i++) {
		if ((a = agreement(&e->row[i], r, act)) == 5)
			return &e->row[i];
		if (a > best)
			best = a;
	}
	if (r->group_rows == 0)
		snprintf(group, sizeof(group), "a scale for a tensor");
	else if (r->group_cols == 0)
		snprintf(group, sizeof(group), "a scale for a row");
	else
		snprintf(group, sizeof(group), "groups of %ju",
		    (uintmax_t)r->group_cols);
	if (best < 2)
		sq_fail(why, "does not take weights in %s of %d bits",
		    sq_wformat_names[r->format], r->bits);
	else if (best == 2)
		sq_fail(why, "does not take activations in %s with weights in "
		    "%s of %d bits", act == SQ_INPUT_NONE ? "16 bits" :
		    sq_input_names[act], sq_wformat_names[r->format], r->bits);
	else
		sq_fail(why, "does not take %s with weights in %s of %d bits"
		    "%s%s", best == 3 ? "zero points" : group,
		    sq_wformat_names[r->format], r->bits,
		    act == SQ_INPUT_NONE ? "" : " and activations in ",
		    act == SQ_INPUT_NONE ? "" : sq_input_names[act]);
	return NULL;
}
