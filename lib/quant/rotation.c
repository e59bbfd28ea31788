/* Orthogonal matrices; see rotation.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "quant/rotation.h"

#define MAX_PALEY	512
#define MAX_ODD		4096

static int
is_prime(size_t q)
{
	size_t i;

	for (i = 2; i * i <= q; i++)
		if (q % i == 0)
			return 0;
	return q > 1;
}

/* The q of Paley's construction of order m, or 0; *second: which one. */
static size_t
paley(size_t m, int *second)
{
	*second = 0;
	if (m % 4 != 0)
		return 0;
	if ((m - 1) % 4 == 3 && is_prime(m - 1))
		return m - 1;
	*second = 1;
	if (m / 2 > 1 && (m / 2 - 1) % 4 == 1 && is_prime(m / 2 - 1))
		return m / 2 - 1;
	return 0;
}

/* 1 where i - j is a square modulo q, -1 where it is not, 0 on the diagonal. */
static int
character(size_t i, size_t j, size_t q)
{
	size_t d = (i + q - j) % q, k;

	for (k = 1; d != 0 && k <= q / 2; k++)
		if (k * k % q == d)
			return 1;
	return d == 0 ? 0 : -1;
}

/* With a border of ones; skew: the left one is negative. */
static int
bordered(size_t i, size_t j, size_t q, int skew)
{
	if (i == 0 || j == 0)
		return i == j ? 0 : j == 0 && skew ? -1 : 1;
	return character(i - 1, j - 1, q);
}

static void
fill_paley(double *a, size_t m, size_t q, int second)
{
	static const int on[2][2] = { { 1, -1 }, { -1, -1 } };
	static const int off[2][2] = { { 1, 1 }, { 1, -1 } };
	size_t i, j;

	for (i = 0; i < m; i++)
		for (j = 0; j < m; j++)
			if (!second)
				a[i * m + j] = i == j ? 1 :
				    bordered(i, j, q, 1);
			else if (i / 2 == j / 2)
				a[i * m + j] = on[i % 2][j % 2];
			else
				a[i * m + j] = off[i % 2][j % 2] *
				    bordered(i / 2, j / 2, q, 0);
	for (i = 0; i < m * m; i++)
		a[i] /= sqrt((double)m);
}

static double
normal(struct sq_rng *r)
{
	double u = sq_rng_uniform(r) + 0x1p-60, v = sq_rng_uniform(r);

	return sqrt(-2 * log(u)) * cos(2 * M_PI * v);
}

/* Rows made orthogonal to those above them, twice: once is not exact. */
static void
fill_random(double *a, size_t m, struct sq_rng *r)
{
	size_t i, j, k, turn;
	double dot;

	for (i = 0; i < m * m; i++)
		a[i] = normal(r);
	for (i = 0; i < m; i++)
		for (turn = 0; turn < 2; turn++) {
			for (j = 0; j < i; j++) {
				for (dot = k = 0; k < m; k++)
					dot += a[i * m + k] * a[j * m + k];
				for (k = 0; k < m; k++)
					a[i * m + k] -= dot * a[j * m + k];
			}
			for (dot = k = 0; k < m; k++)
				dot += a[i * m + k] * a[i * m + k];
			for (k = 0; k < m; k++)
				a[i * m + k] /= sqrt(dot);
		}
}

int
sq_rotation_init(struct sq_rotation *t, size_t n, uint64_t seed, char *err)
{
	size_t odd = n & ~(n - 1), q = 0, i;
	struct sq_rng r = { seed };
	int second = 0;

	memset(t, 0, sizeof(*t));
	odd = n / odd;
	t->n = n;
	for (t->m = odd; odd > 1 && t->m <= MAX_PALEY && n % t->m == 0;
	    t->m *= 2)
		if ((q = paley(t->m, &second)) != 0)
			break;
	t->hadamard = odd == 1 || q != 0;
	if (!t->hadamard)
		t->m = odd;
	if (!t->hadamard && odd > MAX_ODD)
		return sq_fail(err, "no rotation of %zu channels", n);
	t->p = n / t->m;
	t->sign = malloc(n * sizeof(double));
	t->matrix = t->m == 1 ? NULL : malloc(t->m * t->m * sizeof(double));
	if (t->sign == NULL || (t->m > 1 && t->matrix == NULL)) {
		sq_rotation_release(t);
		return sq_fail(err, "out of memory");
	}
	for (i = 0; i < n; i++)
		t->sign[i] = (sq_rng_uniform(&r) < .5 ? -1 : 1) /
		    sqrt((double)t->p);
	if (t->m > 1 && t->hadamard)
		fill_paley(t->matrix, t->m, q, second);
	else if (t->m > 1)
		fill_random(t->matrix, t->m, &r);
	return 0;
}

void
sq_rotation_release(struct sq_rotation *t)
{
	free(t->sign);
	free(t->matrix);
	memset(t, 0, sizeof(*t));
}

/* Each run of m by M. */
static void
multiply(const struct sq_rotation *t, double *x, double *y)
{
	size_t m = t->m, b, i, j;
	const double *a;

	memset(y, 0, t->n * sizeof(*y));
	for (b = 0; b < t->n; b += m)
		for (i = 0; i < m; i++) {
			a = t->matrix + i * m;
			for (j = 0; j < m; j++)
				y[b + j] += x[b + i] * a[j];
		}
	memcpy(x, y, t->n * sizeof(*x));
}

void
sq_rotation_apply(const struct sq_rotation *t, double *x, double *work)
{
	size_t i, j, half;
	double a, b;

	for (i = 0; i < t->n; i++)
		x[i] *= t->sign[i];
	for (half = t->m; half < t->n; half *= 2)
		for (i = 0; i < t->n; i += 2 * half)
			for (j = i; j < i + half; j++) {
				a = x[j];
				b = x[j + half];
				x[j] = a + b;
				x[j + half] = a - b;
			}
	if (t->matrix != NULL)
		multiply(t, x, work);
}
