/* Moments of columns; see ops.def. */
#include <math.h>

#include "kernels/bins.h"
#include "kernels/ref/ref.h"

int
sq_moments_ref(struct sq_ctx *c, const struct sq_mat *x,
    const struct sq_moments *m)
{
	const float *row;
	size_t i, j;

	(void)c;
	if (x->type != SQ_F32)
		return SQ_UNSUP;
	for (i = 0; i < x->rows; i++) {
		row = (const float *)x->p + i * x->stride;
		for (j = 0; j < x->cols; j++) {
			if (row[j] < m->min[j])
				m->min[j] = row[j];
			if (row[j] > m->max[j])
				m->max[j] = row[j];
			m->sum[j] += row[j];
			m->abssum[j] += fabsf(row[j]);
			m->hist[sq_bin(row[j])]++;
		}
	}
	return 0;
}
