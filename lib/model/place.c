/* Weights and vectors into a device's memory; see place.h. */
#include <stdlib.h>

#include "kernels/quant.h"
#include "model/place.h"
#include "model/stored.h"

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

int
sq_place_linear(const struct sq_mem *mem, struct sq_linear *l, char *err)
{
	struct sq_weight_part part[SQ_WEIGHT_PARTS];
	void *rows = NULL;
	size_t n = 0;
	char *p;
	int i;

	if (!mem->device)
		return 0;
	/* devices multiply rows */
	if (l->w.layout != SQ_ROWS &&
	    (rows = sq_stored_expand(&l->w, err)) == NULL)
		return -1;
	sq_weight_parts(&l->w, part);
	for (i = 0; i < SQ_WEIGHT_PARTS; i++)
		n += aligned(part[i].size);
	if ((p = mem->alloc(n)) == NULL) {
		free(rows);
		return failed(mem, err);
	}
	for (i = 0, n = 0; i < SQ_WEIGHT_PARTS; i++) {
		if (part[i].size == 0)
			continue;
		if (mem->put(p + n, *part[i].p, part[i].size) < 0) {
			mem->free(p);
			free(rows);
			return failed(mem, err);
		}
		*part[i].p = p + n;
		n += aligned(part[i].size);
	}
	free(rows);
	mem->free(l->own);
	l->own = p;
	return 0;
}
