/* Rotations of many vectors; see turn.h. */
#include <stdlib.h>
#include <string.h>

#include "base/pool.h"
#include "quant/turn.h"

#define RUN	16			/* vectors of a task */

struct job {
	const struct sq_turn *t;
	float *w;
	size_t n, vectors;		/* of that many elements */
	size_t next, step;		/* from vector to vector, element to
					   element */
	const float *scale;
	double *work;			/* [threads][2 n] */
};

static void
turn_run(void *arg, long task, int thread)
{
	const struct job *j = arg;
	double *x = j->work + (size_t)thread * 2 * j->n, *y = x + j->n;
	size_t v = (size_t)task * RUN, end = v + RUN, i, m = j->t->r->n;
	float *w;

	for (; v < end && v < j->vectors; v++) {
		w = j->w + v * j->next;
		for (i = 0; i < j->n; i++)
			x[i] = w[i * j->step] * (j->scale == NULL ? 1.0 :
			    (double)j->scale[i]);
		for (i = 0; i < j->t->count; i++)
			sq_rotation_apply(&j->t->r[i / j->t->share],
			    x + i * m, y);
		for (i = 0; i < j->n; i++)
			w[i * j->step] = (float)x[i];
	}
}

static int
run(struct job *j, struct sq_pool *pool)
{
	int threads = pool == NULL ? 1 : sq_pool_threads(pool);

	j->work = malloc((size_t)threads * 2 * j->n * sizeof(double));
	if (j->work == NULL)
		return -1;
	sq_pool_run(pool, turn_run, j, (long)((j->vectors + RUN - 1) / RUN));
	free(j->work);
	return 0;
}

int
sq_turn_rows(const struct sq_turn *t, float *w, size_t rows, size_t cols,
    const float *scale, struct sq_pool *pool)
{
	struct job j = { .t = t, .w = w, .n = cols, .vectors = rows,
	    .next = cols, .step = 1, .scale = scale };

	return run(&j, pool);
}

int
sq_turn_cols(const struct sq_turn *t, float *w, size_t rows, size_t cols,
    struct sq_pool *pool)
{
	struct job j = { .t = t, .w = w, .n = rows, .vectors = cols,
	    .next = 1, .step = cols };

	return run(&j, pool);
}

static void
forget(float **p)
{
	free(*p);
	*p = NULL;
}

static int
turn_h(const struct sq_turn *t, float *packed, size_t n, const float *scale,
    struct sq_pool *pool)
{
	float *h = malloc(n * n * sizeof(*h)), *p = packed;
	size_t i, k;
	int r = -1;

	if (h == NULL)
		return -1;
	for (i = 0; i < n; i++)
		for (k = i; k < n; k++, p++)
			h[i * n + k] = h[k * n + i] = *p *
			    (scale == NULL ? 1 : scale[i] * scale[k]);
	if (sq_turn_rows(t, h, n, n, NULL, pool) == 0 &&
	    sq_turn_cols(t, h, n, n, pool) == 0)
		r = 0;
	for (p = packed, i = 0; i < n; p += n - i, i++)
		memcpy(p, h + i * n + i, (n - i) * sizeof(*p));
	free(h);
	return r;
}

int
sq_turn_stats(const struct sq_turn *t, struct sq_stats *s,
    const float *scale, struct sq_pool *pool)
{
	forget(&s->min);
	forget(&s->max);
	forget(&s->absmean);
	free(s->hist);
	s->hist = NULL;
	s->rescaled = 1;
	if (s->mean != NULL && sq_turn_rows(t, s->mean, 1,
	    (size_t)s->channels, scale, pool) < 0)
		return -1;
	return turn_h(t, s->h, (size_t)s->channels, scale, pool);
}
