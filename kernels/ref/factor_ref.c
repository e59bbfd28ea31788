/* The references of what GPTQ needs of H: reflect, factor, partners and
 * row_forms. */

#include "kernels/ref/ref.h"
#include "kernels/rounding.h"
#include "kernels/rows.h"

int
sq_reflect_ref(struct sq_ctx *c, const struct sq_mat *x, size_t col,
    const struct sq_mat *y)
{
	size_t i, k;

	(void)c;
	if (!sq_reflect_allows(x, col, y))
		return SQ_UNSUP;
	for (i = 0; i < x->rows; i++)
		for (k = i < col ? 0 : i - col; k < x->cols; k++)
			sq_row(y, i)[col + k] = sq_row(y, col + k)[i] =
			    sq_row(x, i)[k];
	return 0;
}

/* From the last column to the first: R_kk, the column above it, and what these
 * take from the columns before. */
int
sq_factor_ref(struct sq_ctx *c, const struct sq_mat *h, const uint32_t *col,
    const float *more, const struct sq_mat *r, float *pivot)
{
	size_t n = h->cols, i, j, k;
	double sum;

	(void)c;
	if (!sq_rounding_mat(h, n, n) || !sq_rounding_mat(r, n, n))
		return SQ_UNSUP;
	for (k = n; k-- > 0;)
		for (i = k + 1; i-- > 0;) {
			sum = sq_row(h, col[i])[col[k]];
			if (i == k)
				sum += more[col[k]];
			for (j = k + 1; j < n; j++)
				sum -= (double)sq_row(r, i)[j] *
				    sq_row(r, k)[j] * pivot[j];
			if (i == k)
				pivot[k] = sum > 0 ? (float)sum : 0;
			sq_row(r, i)[k] = i == k ? 1 : (float)(sum / pivot[k]);
			if (i < k)
				sq_row(r, k)[i] = 0;
		}
	return 0;
}

static void
find(const struct sq_mat *h, size_t i, size_t most, uint32_t *with,
    float *has)
{
	size_t count[SQ_PARTNER_BINS] = { 0 }, n = h->cols, above = 0, m = 0, j;
	int cut, pass, b;
#define BIN(j)	sq_partner_bin(sq_row(h, i)[j], sq_row(h, i)[i],	\
	sq_row(h, j)[j])

	for (j = i + 1; j < n; j++)
		count[BIN(j)]++;
	for (cut = SQ_PARTNER_BINS - 1; cut > 0 && above + count[cut] < most;
	    cut--)
		above += count[cut];
	for (pass = 0; pass < 2; pass++)
		for (j = i + 1; j < n && m < most; j++) {
			b = BIN(j);
			if (pass == 0 ? b > cut : b == cut) {
				with[m] = (uint32_t)j;
				has[m++] = sq_row(h, i)[j];
			}
		}
#undef BIN
}

int
sq_partners_ref(struct sq_ctx *c, const struct sq_mat *h, size_t most,
    uint32_t *with, float *has)
{
	size_t i;

	(void)c;
	if (!sq_rounding_mat(h, h->cols, h->cols) || most == 0)
		return SQ_UNSUP;
	for (i = 0; i < h->cols; i++)
		find(h, i, most, with + i * most, has + i * most);
	return 0;
}

int
sq_row_forms_ref(struct sq_ctx *c, const struct sq_mat *x,
    const struct sq_mat *g, const float *less, double *sum)
{
	const float *a, *b;
	size_t i, j;

	(void)c;
	if (!sq_rows_alike(x, g))
		return SQ_UNSUP;
	for (i = 0; i < x->rows; i++) {
		a = sq_row(x, i);
		b = sq_row(g, i);
		sum[i] = 0;
		for (j = 0; j < x->cols; j++)
			sum[i] += a[j] * (b[j] - (double)less[j] * a[j]);
	}
	return 0;
}
