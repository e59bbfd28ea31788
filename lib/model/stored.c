/* Masked weights in sparse layouts; see stored.h. */
#include <stdlib.h>
#include <string.h>

#include "formats/fmt_json.h"
#include "model/stored.h"
#include "model/weight.h"

static const char *const layouts[] = { "rows", "runs", "blocks" };

/* Bytes of all values in rows. */
static size_t
rows_size(const struct sq_weight *w)
{
	return w->grid == SQ_DENSE ?
	    w->rows * w->cols * sq_dtype_size(w->type) :
	    w->rows * sq_row_bytes(w->cols, sq_grid_bits(w->grid));
}

int
sq_store(struct sq_stored *s, const struct sq_tensor *t, const void *payload,
    char *err)
{
	const struct sq_part *part = sq_tensor_part(t, "mask");
	struct sq_mask mask = { .pattern = t->sparse,
	    .rows = (size_t)sq_tensor_rows(t),
	    .cols = (size_t)sq_tensor_cols(t) };
	struct sq_weight rows;

	memset(s, 0, sizeof(*s));
	if (part == NULL || sq_weight_init(&rows, t, payload, err) < 0)
		return 0;
	mask.bits = (uint8_t *)(uintptr_t)payload + part->offset;
	if (sq_sparse_plan(&rows, &mask, &s->w, &s->kept) < 0 ||
	    !sq_sparse_common(&s->w))
		return 0;
	s->values_size = sq_sparse_values(&s->w, s->kept);
	s->index_size = sq_sparse_index(&s->w, s->kept);
	if (s->values_size + s->index_size >= rows_size(&rows) + part->length)
		return 0;
	s->values = malloc(s->values_size + 1);
	s->index = malloc(s->index_size);
	if (s->values == NULL || s->index == NULL) {
		sq_stored_release(s);
		return sq_fail(err, "out of memory");
	}
	sq_sparse_pack(&rows, &mask, &s->w, s->kept, s->values, s->index);
	s->w.data = s->values;
	s->w.index = s->index;
	return 1;
}

void
sq_stored_release(struct sq_stored *s)
{
	free(s->values);
	free(s->index);
	memset(s, 0, sizeof(*s));
}

json_t *
sq_stored_describe(const struct sq_weight *w)
{
	return json_pack("{s:s,s:I,s:I}", "layout", layouts[w->layout],
	    "n", (json_int_t)w->n, "m", (json_int_t)w->m);
}

int
sq_stored_parse(struct sq_weight *w, const json_t *o, char *err)
{
	const char *name;
	uint64_t n, m;

	if (sq_json_string(o, "layout", &name, err) < 0 ||
	    sq_json_uint(o, "n", &n, err) < 0 ||
	    sq_json_uint(o, "m", &m, err) < 0)
		return -1;
	w->layout = strcmp(name, layouts[SQ_NM]) == 0 ? SQ_NM :
	    strcmp(name, layouts[SQ_BLOCKS]) == 0 ? SQ_BLOCKS : SQ_ROWS;
	w->n = (size_t)n;
	w->m = (size_t)m;
	if (w->layout == SQ_ROWS || n > SQ_SPARSE_SIDE || m > SQ_SPARSE_SIDE ||
	    !sq_sparse_allows(w))
		return sq_fail(err, "a sparse layout that is not known here");
	return 0;
}

int
sq_stored_part(const struct sq_weight *w, const struct sq_tensor *t, int part,
    void *buf, char *err)
{
	int is_mask = strcmp(t->part[part].name, "mask") == 0, r;
	struct sq_mask mask;
	void *rows = buf;

	if (sq_mask_init(&mask, &t->sparse, w->rows, w->cols, err) < 0)
		return -1;
	if (is_mask && (rows = malloc(rows_size(w))) == NULL) {
		sq_mask_release(&mask);
		return sq_fail(err, "out of memory");
	}
	if ((r = sq_sparse_unpack(w, rows, &mask, err)) == 0 && is_mask)
		memcpy(buf, mask.bits, t->part[part].length);
	if (is_mask)
		free(rows);
	sq_mask_release(&mask);
	return r;
}

void *
sq_stored_expand(struct sq_weight *w, char *err)
{
	struct sq_sparse any = { .kind = SQ_MASK_ANY };
	struct sq_mask mask;
	void *rows;

	if (sq_mask_init(&mask, &any, w->rows, w->cols, err) < 0)
		return NULL;
	if ((rows = malloc(rows_size(w))) == NULL) {
		sq_fail(err, "out of memory");
	} else if (sq_sparse_unpack(w, rows, &mask, err) < 0) {
		free(rows);
		rows = NULL;
	}
	sq_mask_release(&mask);
	if (rows != NULL) {
		w->layout = SQ_ROWS;
		w->data = rows;
		w->index = NULL;
	}
	return rows;
}

void
sq_stored_count(const struct sq_weight *w, struct sq_stored_work *k)
{
	size_t kept = 0, groups = 0;

	memset(k, 0, sizeof(*k));
	if (w->grid != SQ_DENSE)
		groups = (w->rows + w->group_rows - 1) / w->group_rows *
		    sq_groups_across(w->cols, w->group_cols) *
		    (sq_dtype_size(w->scale_type) + (w->zeros != NULL));
	k->dense_bytes = rows_size(w) + groups;
	if (w->layout == SQ_ROWS) {
		k->bytes = k->dense_bytes;
		k->done = k->all = 1;
		return;
	}
	if (w->layout == SQ_BLOCKS) {
		kept = sq_blocks_start(w)[sq_blocks_down(w)];
		k->done = kept;
		k->all = (uint64_t)sq_blocks_down(w) * sq_blocks_across(w);
		groups = (size_t)((double)groups * (double)kept /
		    (double)k->all);
	} else {
		k->done = sq_nm_bands(w) * sq_nm_steps(w) * SQ_NM_LANES;
		k->all = (uint64_t)w->rows * w->cols;
	}
	k->bytes = sq_sparse_values(w, kept) + sq_sparse_index(w, kept) +
	    groups;
}
