/* The next token from logits; see sampler.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/sampler.h"

int
sq_sampler_init(struct sq_sampler *s, const struct sq_sampling *how,
    size_t vocab, char *err)
{
	s->s = *how;
	s->rng.state = how->seed;
	s->vocab = vocab;
	if ((s->choice = malloc(vocab * sizeof(*s->choice))) == NULL)
		return sq_fail(err, "out of memory");
	return 0;
}

void
sq_sampler_release(struct sq_sampler *s)
{
	free(s->choice);
	s->choice = NULL;
}

static int
check(const float *logits, size_t n, char *err)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (!isfinite(logits[i]))
			return sq_fail(err, "the model's output is not "
			    "finite");
	return 0;
}

static uint32_t
greatest(const float *logits, size_t n)
{
	size_t i, best = 0;

	for (i = 1; i < n; i++)
		if (logits[i] > logits[best])
			best = i;
	return (uint32_t)best;
}

static int
better(const void *a, const void *b)
{
	const struct sq_choice *x = a, *y = b;

	if (x->logit != y->logit)
		return x->logit > y->logit ? -1 : 1;
	return x->id < y->id ? -1 : 1;
}

static void
sort(struct sq_sampler *s, const float *logits)
{
	size_t i;

	for (i = 0; i < s->vocab; i++)
		s->choice[i] = (struct sq_choice){ (uint32_t)i, logits[i] };
	qsort(s->choice, s->vocab, sizeof(*s->choice), better);
}

/* How many of the sorted choices stay, and the sum of exp(logit - best). */
static size_t
keep(const struct sq_sampler *s, double *total)
{
	const struct sq_choice *c = s->choice;
	size_t i, n = s->s.top_k > 0 && s->s.top_k < s->vocab ? s->s.top_k :
	    s->vocab;
	double t = s->s.temperature, all = 0, sum = 0, p;

	for (i = 0; i < n; i++)
		all += exp((c[i].logit - c[0].logit) / t);
	for (i = 0; i < n; i++) {
		p = exp((c[i].logit - c[0].logit) / t);
		/* p of the best is 1 before it is divided by the sum */
		if (i > 0 && (sum >= s->s.top_p * all || p < s->s.min_p))
			break;
		sum += p;
	}
	*total = sum;
	return i;
}

/* Of all choices, none left out, which need not be sorted. */
static uint32_t
any(struct sq_sampler *s, const float *logits)
{
	float best = logits[greatest(logits, s->vocab)];
	float cold = (float)(1 / s->s.temperature);
	double total = 0, u;
	size_t i;

	for (i = 0; i < s->vocab; i++) {
		s->choice[i].logit = expf((logits[i] - best) * cold);
		total += (double)s->choice[i].logit;
	}
	u = sq_rng_uniform(&s->rng) * total;
	for (i = 0; i + 1 < s->vocab; i++) {
		u -= (double)s->choice[i].logit;
		if (u < 0)
			break;
	}
	return (uint32_t)i;
}

int
sq_sampler_pick(struct sq_sampler *s, const float *logits, uint32_t *id,
    char *err)
{
	double total, u;
	size_t i, n;

	if (check(logits, s->vocab, err) < 0)
		return -1;
	if (s->s.temperature == 0) {
		*id = greatest(logits, s->vocab);
		return 0;
	}
	if ((s->s.top_k == 0 || s->s.top_k >= s->vocab) && s->s.top_p >= 1 &&
	    s->s.min_p <= 0) {
		*id = any(s, logits);
		return 0;
	}
	sort(s, logits);
	n = keep(s, &total);
	u = sq_rng_uniform(&s->rng) * total;
	for (i = 0; i + 1 < n; i++) {
		u -= exp((s->choice[i].logit - s->choice[0].logit) /
		    s->s.temperature);
		if (u < 0)
			break;
	}
	*id = s->choice[i].id;
	return 0;
}

int
sq_sampler_best(struct sq_sampler *s, const float *logits, size_t n,
    struct sq_choice *best, char *err)
{
	double sum = 0;
	size_t i;

	if (check(logits, s->vocab, err) < 0)
		return -1;
	sort(s, logits);
	for (i = s->vocab; i-- > 0; )
		sum += exp((double)s->choice[i].logit - s->choice[0].logit);
	for (i = 0; i < n; i++) {
		best[i] = s->choice[i];
		best[i].logit = (float)((double)best[i].logit -
		    s->choice[0].logit - log(sum));
	}
	return 0;
}
