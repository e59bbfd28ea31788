/* AdamW over many arrays; see params.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "distill/params.h"

#define DECAY1	0.9f			/* of the mean gradient, */
#define DECAY2	0.99f			/* of its square */
#define TINY	1e-12f
#define PIECE	((size_t)1 << 16)	/* values of a task */

float *
sq_params_add(struct sq_params *s, size_t n, int matrix)
{
	struct sq_param *p = realloc(s->param, (s->n + 1) * sizeof(*p));
	float *f;

	if (p == NULL)
		return NULL;
	s->param = p;
	if ((f = calloc(4 * n, sizeof(*f))) == NULL)
		return NULL;
	s->param[s->n++] = (struct sq_param){ f, f + n, f + 2 * n, f + 3 * n,
	    n, matrix };
	return f;
}

void
sq_params_release(struct sq_params *s)
{
	size_t i;

	for (i = 0; i < s->n; i++)
		free(s->param[i].p);
	free(s->param);
	memset(s, 0, sizeof(*s));
}

struct job {
	const struct sq_param *p;
	double *square;			/* [tasks] */
	float rate, decay, clip, fix1, fix2;
};

static size_t
piece(const struct job *j, long task, size_t *end)
{
	size_t at = (size_t)task * PIECE;

	*end = j->p->n - at < PIECE ? j->p->n : at + PIECE;
	return at;
}

static void
do_norm(void *arg, long task, int thread)
{
	const struct job *j = arg;
	size_t i, end;
	double sum = 0;

	(void)thread;
	for (i = piece(j, task, &end); i < end; i++)
		sum += (double)j->p->g[i] * j->p->g[i];
	j->square[task] = sum;
}

static void
do_step(void *arg, long task, int thread)
{
	const struct job *j = arg;
	const struct sq_param *p = j->p;
	size_t i, end;
	float g;

	(void)thread;
	for (i = piece(j, task, &end); i < end; i++) {
		g = p->g[i] * j->clip;
		p->g[i] = 0;
		if (p->matrix && p->p[i] == 0)
			continue;
		p->m1[i] = DECAY1 * p->m1[i] + (1 - DECAY1) * g;
		p->m2[i] = DECAY2 * p->m2[i] + (1 - DECAY2) * g * g;
		p->p[i] -= j->rate * (p->m1[i] * j->fix1 /
		    (sqrtf(p->m2[i] * j->fix2) + TINY) +
		    j->decay * p->p[i]);
	}
}

static long
tasks(const struct sq_param *p)
{
	return (long)((p->n + PIECE - 1) / PIECE);
}

/* Of all gradients; pieces are added in their order. */
static double
norm(struct sq_params *s, struct sq_pool *pool)
{
	double sum = 0, square[1024];
	struct job j;
	long k, first, n;
	size_t i;

	for (i = 0; i < s->n; i++)
		for (first = 0; first < tasks(&s->param[i]); first += n) {
			struct sq_param part = s->param[i];

			n = tasks(&s->param[i]) - first;
			n = n > 1024 ? 1024 : n;
			part.g += (size_t)first * PIECE;
			part.n -= (size_t)first * PIECE;
			if (part.n > (size_t)n * PIECE)
				part.n = (size_t)n * PIECE;
			j = (struct job){ .p = &part, .square = square };
			sq_pool_run(pool, do_norm, &j, n);
			for (k = 0; k < n; k++)
				sum += square[k];
		}
	return sqrt(sum);
}

void
sq_params_step(struct sq_params *s, struct sq_pool *pool, uint64_t step,
    double rate, double decay)
{
	struct job j = { .rate = (float)rate,
	    .fix1 = (float)(1 / (1 - pow((double)DECAY1, (double)step))),
	    .fix2 = (float)(1 / (1 - pow((double)DECAY2, (double)step))) };
	size_t i;

	s->norm = norm(s, pool);
	j.clip = s->norm > 1 ? (float)(1 / s->norm) : 1;
	for (i = 0; i < s->n; i++) {
		j.p = &s->param[i];
		j.decay = s->param[i].matrix ? (float)decay : 0;
		sq_pool_run(pool, do_step, &j, tasks(j.p));
	}
}
