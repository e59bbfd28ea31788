/* Paired tests; see significance.h. */
#include <math.h>

#include "eval/significance.h"

double
sq_p_of_z(double z)
{
	return erfc(fabs(z) / sqrt(2));
}

/* Two-sided: of n changes, the fewer kind came k times. */
static double
mcnemar(size_t k, size_t n)
{
	double p = 0, log_half = (double)n * log(.5);
	size_t i;

	for (i = 0; i <= k; i++)
		p += exp(lgamma((double)n + 1) - lgamma((double)i + 1) -
		    lgamma((double)(n - i) + 1) + log_half);
	return fmin(1, 2 * p);
}

double
sq_paired(const double *a, const double *b, size_t n, double *delta)
{
	double sum = 0, sum2 = 0, d, k = (double)n, se;
	size_t i, lost = 0, won = 0;
	int counts = 1;

	*delta = NAN;
	if (n == 0)
		return NAN;
	for (i = 0; i < n; i++) {
		d = b[i] - a[i];
		sum += d;
		sum2 += d * d;
		lost += d < 0;
		won += d > 0;
		counts &= (a[i] == 0 || a[i] == 1) && (b[i] == 0 || b[i] == 1);
	}
	*delta = sum / k;
	if (counts)
		return lost + won == 0 ? 1 : mcnemar(lost < won ? lost : won,
		    lost + won);
	se = n > 1 ? sqrt(fmax(sum2 / k - *delta * *delta, 0) / (k - 1)) : 0;
	return se == 0 ? *delta == 0 : sq_p_of_z(*delta / se);
}
