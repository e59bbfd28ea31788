/* What a model has brought so far; see inventory.h. */
#include <stdlib.h>
#include <string.h>

#include "model/inventory.h"

int
sq_inventory_init(struct sq_inventory *v, const char *config, size_t len,
    char *err)
{
	memset(v, 0, sizeof(*v));
	if (sq_config_parse(&v->config, config, len, err) < 0)
		return -1;
	v->slot = sq_config_slots(&v->config, &v->n);
	v->seen = calloc(v->n, 1);
	if (v->slot == NULL || v->seen == NULL) {
		sq_inventory_release(v);
		return sq_fail(err, "out of memory");
	}
	return 0;
}

void
sq_inventory_release(struct sq_inventory *v)
{
	free(v->slot);
	free(v->seen);
	v->slot = NULL;
	v->seen = NULL;
}

int
sq_inventory_add(struct sq_inventory *v, const struct sq_tensor *t,
    const struct sq_slot **slot, char *err)
{
	const struct sq_slot *s = sq_slot_find(v->slot, v->n, t->name);
	int i, ok;

	*slot = s;
	if (s == NULL)
		return 0;
	if (v->seen[s - v->slot])
		return sq_fail(err, "tensor '%s' comes twice", t->name);
	ok = t->ndim == s->ndim;
	for (i = 0; ok && i < s->ndim; i++)
		ok = t->dim[i] == s->dim[i];
	if (!ok)
		return sq_fail(err, "tensor '%s': its shape is not what "
		    "config.json says", t->name);
	if (!sq_dtype_is_float(t->type))
		return sq_fail(err, "tensor '%s': type %s is not one for "
		    "weights", t->name, sq_dtype_name(t->type));
	v->seen[s - v->slot] = 1;
	return 0;
}

int
sq_inventory_complete(const struct sq_inventory *v, char *err)
{
	size_t i;

	for (i = 0; i < v->n; i++)
		if (v->slot[i].required && !v->seen[i])
			return sq_fail(err, "tensor '%s' is missing",
			    v->slot[i].name);
	return 0;
}
