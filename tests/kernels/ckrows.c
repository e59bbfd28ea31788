/* Matrices for the checks; see ckrows.h. */
#include <string.h>

#include "tests/kernels/ckrows.h"

size_t
ck_mat_bytes(const struct sq_mat *m)
{
	return ((m->rows - 1) * m->stride + m->cols) * sizeof(float);
}

float *
ck_row(const struct sq_mat *m, size_t row)
{
	return (float *)m->p + row * m->stride;
}

struct sq_mat
ck_mat(struct checker *k, size_t rows, size_t cols, size_t pad)
{
	struct sq_mat m = { NULL, SQ_F32, rows, cols, cols + pad };

	m.p = ck_buf(k, ck_mat_bytes(&m));
	return m;
}

struct sq_mat
ck_mat_of(struct checker *k, size_t rows, size_t cols, size_t pad,
    enum ck_kind kind)
{
	struct sq_mat m = ck_mat(k, rows, cols, pad);
	size_t i;

	for (i = 0; i < rows; i++)
		ck_fill(k, ck_row(&m, i), SQ_F32, cols, kind);
	return m;
}

struct sq_mat
ck_mat_copy(struct checker *k, const struct sq_mat *m)
{
	struct sq_mat c = *m;

	c.p = ck_buf(k, ck_mat_bytes(m));
	memcpy(c.p, m->p, ck_mat_bytes(m));
	return c;
}

void
ck_mat_pads(struct checker *k, const struct sq_mat *m, const char *what)
{
	size_t i, pad = m->stride - m->cols;

	for (i = 0; i + 1 < m->rows && pad > 0; i++)
		ck_untouched(k, ck_row(m, i) + m->cols, pad * sizeof(float),
		    "%s: behind row %zu", what, i);
}

void
ck_mat_close(struct checker *k, const struct sq_mat *want,
    const struct sq_mat *got, const double *mag, const char *what)
{
	size_t i;

	for (i = 0; i < want->rows; i++)
		ck_close(k, ck_row(want, i), ck_row(got, i), mag == NULL ?
		    NULL : mag + i * want->cols, want->cols, "%s row %zu",
		    what, i);
}

void
ck_shape(struct checker *k, size_t i, size_t *rows, size_t *cols, size_t *pad)
{
	static const struct {
		size_t rows, cols, pad;
	} shape[] = {
		{ 1, 1, 0 }, { 3, 2, 1 }, { 2, 7, 0 }, { 5, 8, 3 },
		{ 2, 15, 0 }, { 4, 16, 0 }, { 3, 17, 7 }, { 2, 31, 1 },
		{ 2, 33, 0 }, { 7, 64, 16 }, { 2, 100, 0 }, { 1, 2048, 0 },
		{ 70, 576, 0 }, { 40, 768, 5 }, { 9, 5632, 0 },
		{ 1, 14336, 0 }, { 600, 48, 0 },
	};

	if (i < sizeof(shape) / sizeof(shape[0])) {
		*rows = shape[i].rows;
		*cols = shape[i].cols;
		*pad = shape[i].pad;
		return;
	}
	*rows = ck_range(k, 1, 60);
	*cols = ck_range(k, 1, 900);
	*pad = ck_range(k, 0, 9) * ck_range(k, 0, 1);
}
