/* The values of a tensor, chunk by chunk; see tensor_values.h. */
#include <stdlib.h>
#include <string.h>

#include "model/tensor_values.h"
#include "model/weight.h"

/* Bytes of a row of the part that goes with rows (data, codes, mask). */
static size_t
row_bytes(const struct sq_tensor *t, int part)
{
	size_t cols = (size_t)sq_tensor_cols(t);

	if (strcmp(t->part[part].name, "data") == 0)
		return cols * sq_dtype_size(t->type);
	if (strcmp(t->part[part].name, "codes") == 0)
		return sq_row_bytes(cols, sq_grid_bits(t->grid));
	return 0;
}

int
sq_values_open(struct sq_values *v, struct sq_ctx *ctx,
    const struct sq_source *s, const struct sq_source_tensor *t, char *err)
{
	size_t n;
	int i;

	memset(v, 0, sizeof(*v));
	v->ctx = ctx;
	v->source = s;
	v->t = t;
	v->rows = (size_t)sq_tensor_rows(&t->t);
	v->cols = (size_t)sq_tensor_cols(&t->t);
	v->chunk = SQ_VALUES_ROWS(v->cols);
	for (i = 0; i < t->t.nparts; i++) {
		n = row_bytes(&t->t, i) * v->chunk;
		if (strcmp(t->t.part[i].name, "mask") == 0)
			continue;
		v->part[i] = malloc(n > 0 ? n : (size_t)t->t.part[i].length);
		if (v->part[i] == NULL) {
			sq_fail(err, "out of memory");
			goto err;
		}
		if (n == 0 && sq_source_read(s, t, i, 0, v->part[i],
		    (size_t)t->t.part[i].length, err) < 0)
			goto err;
	}
	if (sq_weight_init_parts(&v->w, &t->t,
	    (const void *const *)v->part, err) == 0)
		return 0;
err:
	sq_values_release(v);
	return -1;
}

void
sq_values_release(struct sq_values *v)
{
	int i;

	for (i = 0; i < SQ_PARTS; i++)
		free(v->part[i]);
	memset(v, 0, sizeof(*v));
}

/*
 * A chunk's codes are in memory from its first row on, its scales from the
 * first of the tensor: the weight that is handed to the kernel is a window on
 * them.  Groups of several rows need chunks that begin where a group does.
 */
int
sq_values_read(struct sq_values *v, size_t row, size_t n, float *out,
    char *err)
{
	const struct sq_tensor *t = &v->t->t;
	struct sq_mat m = { out, SQ_F32, n, v->cols, v->cols };
	struct sq_weight w = v->w;
	size_t r, done, b, groups, skip = 0;
	int i;

	for (i = 0; i < t->nparts; i++) {
		if ((b = row_bytes(t, i)) == 0)
			continue;
		if (sq_source_read(v->source, v->t, i, (uint64_t)row * b,
		    v->part[i], n * b, err) < 0)
			return -1;
	}
	w.rows = n;
	if (t->grid == SQ_DENSE) {
		if (sq_dequantize(v->ctx, &w, 0, &m) != 0)
			return sq_fail(err, "'%s': no kernel", t->name);
		return 0;
	}
	groups = (size_t)sq_tensor_group_cols(t);
	for (done = 0; done < n; done += r) {
		/* the rows up to the end of a group of rows */
		skip = (row + done) / w.group_rows * groups;
		r = w.group_rows - (row + done) % w.group_rows;
		if (w.group_rows == 1 || r > n - done)
			r = n - done;
		w = v->w;
		w.rows = r;
		w.data = (const char *)v->w.data + done * sq_row_bytes(
		    v->cols, sq_grid_bits(t->grid));
		sq_weight_skip_groups(&w, skip);
		m.p = out + done * v->cols;
		m.rows = r;
		if (sq_dequantize(v->ctx, &w, 0, &m) != 0)
			return sq_fail(err, "'%s': no kernel", t->name);
	}
	return 0;
}
