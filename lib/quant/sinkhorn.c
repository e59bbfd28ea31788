/* Rows and columns of one size; see sinkhorn.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "quant/sinkhorn.h"

#define TURNS	16

struct state {
	const float *w;
	size_t rows, cols;
	double *row, *col;		/* factors so far */
	double *r, *c;			/* mean squares of what is left */
};

static double
inverse(double x)
{
	return x > 0 ? 1 / x : 0;
}

static void
measure(struct state *s)
{
	size_t i, j;
	double v;

	memset(s->c, 0, s->cols * sizeof(double));
	for (i = 0; i < s->rows; i++) {
		for (s->r[i] = 0, j = 0; j < s->cols; j++) {
			v = s->w[i * s->cols + j] * inverse(s->row[i]) *
			    inverse(s->col[j]);
			s->r[i] += v * v / (double)s->cols;
			s->c[j] += v * v / (double)s->rows;
		}
	}
}

/* The greatest root mean square by the least, those of zeros aside. */
static double
imbalance(const struct state *s)
{
	double lo = INFINITY, hi = 0, v;
	size_t i;

	for (i = 0; i < s->rows + s->cols; i++) {
		v = i < s->rows ? s->r[i] : s->c[i - s->rows];
		if (v > 0) {
			lo = fmin(lo, v);
			hi = fmax(hi, v);
		}
	}
	return hi > 0 ? sqrt(hi / lo) : 1;
}

static void
turn(struct state *s, float *col)
{
	double least = INFINITY, now;
	size_t i, j;
	int t;

	for (t = 0; t < TURNS; t++) {
		measure(s);
		if ((now = imbalance(s)) < least) {
			least = now;
			for (j = 0; j < s->cols; j++)
				col[j] = (float)(s->c[j] > 0 ? s->col[j] : 0);
		}
		for (j = 0; t % 2 == 0 && j < s->cols; j++)
			s->col[j] *= sqrt(s->c[j]);
		for (i = 0; t % 2 != 0 && i < s->rows; i++)
			s->row[i] *= sqrt(s->r[i]);
	}
}

int
sq_sinkhorn(const float *w, size_t rows, size_t cols, float *col)
{
	double *p = malloc(2 * (rows + cols) * sizeof(*p));
	struct state s = { .w = w, .rows = rows, .cols = cols, .row = p };
	size_t i;

	if (p == NULL)
		return -1;
	s.col = s.row + rows;
	s.r = s.col + cols;
	s.c = s.r + rows;
	for (i = 0; i < rows + cols; i++)
		p[i] = 1;
	turn(&s, col);
	free(p);
	return 0;
}
