/* A tensor's description, to and from JSON; see fmt_stream.h. */
#include <float.h>
#include <stdlib.h>
#include <string.h>

#include "formats/fmt_json.h"
#include "formats/fmt_stream.h"

static int
get_type(const json_t *o, const char *key, enum sq_dtype *type, char *err)
{
	const char *s;
	int t;

	if (sq_json_string(o, key, &s, err) < 0)
		return -1;
	if ((t = sq_dtype_find(s)) < 0)
		return sq_fail(err, "no type '%s'", s);
	*type = (enum sq_dtype)t;
	return 0;
}

/* An array of at most max whole numbers: how many, or -1. */
static int
get_numbers(const json_t *o, const char *key, uint64_t *v, int max, char *err)
{
	const json_t *a = json_object_get(o, key), *e;
	int i, n = (int)json_array_size(a);

	if (!json_is_array(a) || json_array_size(a) > (size_t)max)
		return sq_fail(err, "'%s' is not an array of at most %d", key,
		    max);
	for (i = 0; i < n; i++) {
		e = json_array_get(a, (size_t)i);
		if (!json_is_integer(e) || json_integer_value(e) < 0)
			return sq_fail(err, "'%s' holds other than whole "
			    "numbers", key);
		v[i] = (uint64_t)json_integer_value(e);
	}
	return n;
}

static int
parse_parts(struct sq_tensor *t, const json_t *desc, char *err)
{
	const json_t *a = json_object_get(desc, "parts"), *o;
	const char *name;
	size_t i, n = json_array_size(a);

	if (!json_is_array(a) || n < 1 || n > SQ_PARTS)
		return sq_fail(err, "'%s': 'parts' is not an array of 1 to %d",
		    t->name, SQ_PARTS);
	for (i = 0; i < n; i++) {
		o = json_array_get(a, i);
		if (sq_json_string(o, "part", &name, err) < 0 ||
		    get_type(o, "dtype", &t->part[i].type, err) < 0 ||
		    sq_json_uint(o, "offset", &t->part[i].offset, err) < 0 ||
		    sq_json_uint(o, "length", &t->part[i].length, err) < 0)
			return -1;
		if (strlen(name) >= SQ_PARTNAME)
			return sq_fail(err, "'%s': a part's name is too long",
			    t->name);
		memcpy(t->part[i].name, name, strlen(name) + 1);
	}
	t->nparts = (int)n;
	return 0;
}

static int
parse_grid(struct sq_tensor *t, const json_t *desc, char *err)
{
	const char *name;
	uint64_t group[2];
	int g;

	if (sq_json_string(desc, "grid", &name, err) < 0)
		return -1;
	g = sq_grid_find(name);
	t->grid = g < 0 ? SQ_GRIDS : (enum sq_grid)g;
	if (t->grid == SQ_DENSE || t->grid == SQ_GRIDS)
		return 0;
	if (get_numbers(desc, "group", group, 2, err) != 2)
		return sq_fail(err, "'%s': 'group' is not two numbers",
		    t->name);
	t->group_rows = group[0];
	t->group_cols = group[1];
	if (!sq_grid_is_int(t->grid))
		return 0;
	if (!json_is_boolean(json_object_get(desc, "symmetric")))
		return sq_fail(err, "'%s': 'symmetric' is not true or false",
		    t->name);
	t->symmetric = json_is_true(json_object_get(desc, "symmetric"));
	return 0;
}

/* How the layer's input is quantized: an object, or nothing. */
static int
parse_act(struct sq_tensor *t, const json_t *desc, char *err)
{
	const json_t *o = json_object_get(desc, "activation");
	const char *type;
	double scale = 0;
	int k;

	if (o == NULL)
		return 0;
	if (!json_is_object(o))
		return sq_fail(err, "'%s': 'activation' is not an object",
		    t->name);
	if (sq_json_string(o, "type", &type, err) < 0 ||
	    sq_json_opt_real(o, "scale", &scale, err) < 0)
		return -1;
	t->act.scale = (float)scale;
	if (json_object_get(o, "scale") != NULL &&
	    !(t->act.scale > 0 && t->act.scale <= FLT_MAX))
		return sq_fail(err, "'%s': a scale of activations that is not "
		    "a positive number", t->name);
	k = sq_act_find(type);
	t->act.kind = k <= SQ_ACT_NONE ? SQ_ACTS : (enum sq_act_kind)k;
	return 0;
}

static json_t *
describe_act(const struct sq_act *a)
{
	json_t *o = json_pack("{s:s}", "type", sq_act_name(a->kind));

	if (a->scale > 0)
		json_object_set_new(o, "scale", json_real(a->scale));
	return o;
}

static int
parse_sparse(struct sq_tensor *t, const json_t *desc, char *err)
{
	const char *text;

	if (json_object_get(desc, "sparsity") == NULL)
		return 0;
	if (sq_json_string(desc, "sparsity", &text, err) < 0)
		return -1;
	if (sq_sparse_parse(&t->sparse, text) < 0)
		return sq_fail(err, "'%s': no pattern of a mask in 'sparsity'",
		    t->name);
	return 0;
}

int
sq_tensor_parse(struct sq_tensor *t, const json_t *desc, uint64_t length,
    char *err)
{
	const char *name;

	memset(t, 0, sizeof(*t));
	t->length = length;
	if (sq_json_string(desc, "name", &name, err) < 0)
		return -1;
	if (!sq_name_ok(name))
		return sq_fail(err, "'%s': not a name for a tensor", name);
	memcpy(t->name, name, strlen(name) + 1);
	if (get_type(desc, "dtype", &t->type, err) < 0)
		return -1;
	t->ndim = get_numbers(desc, "shape", t->dim, SQ_NDIM, err);
	if (t->ndim < 0 || parse_grid(t, desc, err) < 0 ||
	    parse_act(t, desc, err) < 0 || parse_sparse(t, desc, err) < 0 ||
	    parse_parts(t, desc, err) < 0)
		return -1;
	return sq_tensor_check(t, err);
}

json_t *
sq_tensor_describe(const struct sq_tensor *t)
{
	json_t *o, *shape, *parts;
	const struct sq_part *p;
	char text[SQ_SPARSE_TEXT];
	int i, bad = 0;

	if (t->grid == SQ_GRIDS || t->act.kind == SQ_ACTS)
		return NULL;		/* its name is not known */
	shape = json_array();
	parts = json_array();
	for (i = 0; i < t->ndim; i++)
		bad |= json_array_append_new(shape, json_integer((json_int_t)
		    t->dim[i]));
	for (i = 0; i < t->nparts; i++) {
		p = &t->part[i];
		bad |= json_array_append_new(parts, json_pack(
		    "{s:s,s:s,s:I,s:I}", "part", p->name,
		    "dtype", sq_dtype_name(p->type),
		    "offset", (json_int_t)p->offset,
		    "length", (json_int_t)p->length));
	}
	o = json_pack("{s:s,s:s,s:o,s:s}", "name", t->name,
	    "dtype", sq_dtype_name(t->type), "shape", shape,
	    "grid", sq_grid_name(t->grid));
	if (t->grid != SQ_DENSE)
		bad |= json_object_set_new(o, "group", json_pack("[I,I]",
		    (json_int_t)t->group_rows, (json_int_t)t->group_cols));
	if (sq_grid_is_int(t->grid))
		bad |= json_object_set_new(o, "symmetric",
		    json_boolean(t->symmetric));
	if (t->act.kind != SQ_ACT_NONE)
		bad |= json_object_set_new(o, "activation",
		    describe_act(&t->act));
	if (t->sparse.kind != SQ_MASK_NONE)
		bad |= json_object_set_new(o, "sparsity", json_string(
		    sq_sparse_text(&t->sparse, text)));
	bad |= json_object_set_new(o, "parts", parts);
	if (bad == 0)
		return o;
	json_decref(o);
	return NULL;
}

int
sq_out_tensor(struct sq_out *out, const struct sq_tensor *t)
{
	json_t *o;
	char *json;
	int r;

	if (sq_tensor_check(t, out->err) < 0)
		return -1;
	o = sq_tensor_describe(t);
	json = sq_json_text(o);
	json_decref(o);
	if (json == NULL)
		return sq_fail(out->err, "'%s': cannot be described", t->name);
	r = sq_out_begin(out, SQ_TENSOR, json, strlen(json), t->length);
	free(json);
	return r;
}

int
sq_out_gap(struct sq_out *out, uint64_t at, uint64_t next)
{
	static const char zeros[64];

	if (next < at || next - at >= sizeof(zeros))
		return sq_fail(out->err, "parts out of place");
	return sq_out_write(out, zeros, (size_t)(next - at));
}
