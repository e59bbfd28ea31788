/* From a tensor's description to what kernels work on; see weight.h. */
#include <string.h>

#include "model/weight.h"

int
sq_weight_init_parts(struct sq_weight *w, const struct sq_tensor *t,
    const void *const part[SQ_PARTS], char *err)
{
	int i;

	if (t->grid == SQ_GRIDS ||
	    (t->grid == SQ_DENSE && !sq_dtype_is_float(t->type)))
		return sq_fail(err, "tensor '%s': no kernels for %s", t->name,
		    t->grid == SQ_DENSE ? sq_dtype_name(t->type) :
		    "its grid");
	if (t->act.kind == SQ_ACTS)
		return sq_fail(err, "tensor '%s': no kernels for its "
		    "activations", t->name);
	memset(w, 0, sizeof(*w));
	w->grid = t->grid;
	w->layout = SQ_ROWS;
	w->rows = sq_tensor_rows(t);
	w->cols = sq_tensor_cols(t);
	w->type = t->type;
	w->group_rows = t->group_rows;
	w->group_cols = t->group_cols;
	for (i = 0; i < t->nparts; i++) {
		if (strcmp(t->part[i].name, "scales") == 0) {
			w->scales = part[i];
			w->scale_type = t->part[i].type;
		} else if (strcmp(t->part[i].name, "zeros") == 0)
			w->zeros = part[i];
		else if (strcmp(t->part[i].name, "mins") == 0)
			w->mins = part[i];
		else if (strcmp(t->part[i].name, "super") == 0)
			w->super = part[i];
		else if (strcmp(t->part[i].name, "submins") == 0)
			w->submins = part[i];
		else if (strcmp(t->part[i].name, "supermins") == 0)
			w->supermins = part[i];
		else if (strcmp(t->part[i].name, "mask") != 0)
			w->data = part[i];
	}
	return 0;
}

int
sq_weight_init(struct sq_weight *w, const struct sq_tensor *t, const void *p,
    char *err)
{
	const void *part[SQ_PARTS];
	int i;

	for (i = 0; i < t->nparts; i++)
		part[i] = (const char *)p + t->part[i].offset;
	return sq_weight_init_parts(w, t, part, err);
}

void
sq_weight_skip_groups(struct sq_weight *w, size_t n)
{
	size_t size = sq_dtype_size(w->scale_type);
	size_t supers = n * w->group_cols / 256;

	w->scales = (const char *)w->scales + n * size;
	if (w->zeros != NULL)
		w->zeros += n;
	if (w->mins != NULL)
		w->mins += n;
	if (w->submins != NULL)
		w->submins += n;
	if (w->super != NULL)
		w->super += supers;
	if (w->supermins != NULL)
		w->supermins += supers;
}
