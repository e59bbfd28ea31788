/* Weights and vectors into a device's memory; see place.h. */
#include <stdlib.h>

#include "model/place.h"

#define ALIGN	((size_t)256)

static size_t
aligned(size_t n)
{
	return (n + ALIGN - 1) / ALIGN * ALIGN;
}

static int
failed(const struct sq_mem *mem, char *err)
{
	return sq_fail(err, "%s", mem->error());
}

int
sq_place_vector(const struct sq_mem *mem, float **v, size_t n, char *err)
{
	float *to;

	if (!mem->device)
		return 0;
	if ((to = mem->alloc(n * sizeof(*to))) == NULL ||
	    mem->put(to, *v, n * sizeof(*to)) < 0) {
		mem->free(to);
		free(*v);
		*v = NULL;
		return failed(mem, err);
	}
	free(*v);
	*v = to;
	return 0;
}

static size_t
groups(const struct sq_weight *w)
{
	return (w->rows + w->group_rows - 1) / w->group_rows *
	    ((w->cols + w->group_cols - 1) / w->group_cols);
}

int
sq_place_linear(const struct sq_mem *mem, struct sq_linear *l, char *err)
{
	struct sq_weight *w = &l->w;
	size_t data = w->rows * w->cols * sq_dtype_size(w->type), n = 0, s = 0;
	char *p;

	if (!mem->device)
		return 0;
	if (w->grid != SQ_DENSE) {
		data = w->rows * sq_row_bytes(w->cols, sq_grid_bits(w->grid));
		n = groups(w);
		s = n * sq_dtype_size(w->scale_type);
	}
	if ((p = mem->alloc(aligned(data) + aligned(s) + n)) == NULL ||
	    mem->put(p, w->data, data) < 0 ||
	    (s > 0 && mem->put(p + aligned(data), w->scales, s) < 0) ||
	    (w->zeros != NULL && mem->put(p + aligned(data) + aligned(s),
	    w->zeros, n) < 0)) {
		mem->free(p);
		return failed(mem, err);
	}
	mem->free(l->own);
	l->own = p;
	w->data = p;
	if (s > 0)
		w->scales = p + aligned(data);
	if (w->zeros != NULL)
		w->zeros = (uint8_t *)p + aligned(data) + aligned(s);
	return 0;
}
