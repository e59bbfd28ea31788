/* The angles of the rotary embedding; see rope.h. */
#include <math.h>
#include <stdlib.h>

#include "model/rope.h"

#define PI	3.14159265358979323846

/* Low frequencies are divided by the factor, high ones kept, those between
 * blended. */
static double
llama3(const struct sq_rope *r, double freq)
{
	double wave = 2 * PI / freq, n = (double)r->original_context, smooth;

	if (wave < n / r->high_freq)
		return freq;
	if (wave > n / r->low_freq)
		return freq / r->factor;
	smooth = (n / wave - r->low_freq) / (r->high_freq - r->low_freq);
	return (1 - smooth) * freq / r->factor + smooth * freq;
}

/* The dimension whose wave turns so many times over the original context. */
static double
yarn_dim(const struct sq_rope *r, double turns, double dim)
{
	return dim * log((double)r->original_context / (turns * 2 * PI)) /
	    (2 * log(r->theta));
}

static double
yarn(const struct sq_rope *r, double freq, double i, double dim)
{
	double low = yarn_dim(r, r->beta_fast, dim);
	double high = yarn_dim(r, r->beta_slow, dim), ramp;

	if (r->truncate) {
		low = floor(low);
		high = ceil(high);
	}
	low = fmax(low, 0);
	high = fmin(high, dim - 1);
	if (low == high)
		high += .001;
	ramp = fmin(fmax((i - low) / (high - low), 0), 1);
	return freq / r->factor * ramp + freq * (1 - ramp);
}

static double
yarn_mscale(double factor, double m)
{
	return factor <= 1 ? 1 : .1 * m * log(factor) + 1;
}

static double
attention_factor(const struct sq_rope *r)
{
	if (r->kind != SQ_ROPE_YARN)
		return 1;
	if (r->attention_factor > 0)
		return r->attention_factor;
	if (r->mscale > 0 && r->mscale_all > 0)
		return yarn_mscale(r->factor, r->mscale) /
		    yarn_mscale(r->factor, r->mscale_all);
	return yarn_mscale(r->factor, 1);
}

static double
frequency(const struct sq_rope *r, double i, double dim)
{
	double freq = pow(r->theta, -2 * i / dim);

	switch (r->kind) {
	case SQ_ROPE_LINEAR:
		return freq / r->factor;
	case SQ_ROPE_LLAMA3:
		return llama3(r, freq);
	case SQ_ROPE_YARN:
		return yarn(r, freq, i, dim);
	default:
		return freq;
	}
}

double
sq_rope_divisor(const struct sq_rope *r, double i, double dim)
{
	struct sq_rope plain = *r;

	plain.kind = SQ_ROPE_PLAIN;
	return frequency(&plain, i, dim) / frequency(r, i, dim);
}

int
sq_rope_table(const struct sq_config *c, size_t from, size_t to, float *table)
{
	size_t half = (size_t)c->head_dim / 2, i, p;
	double *freq = malloc(half * sizeof(*freq)), scale, a;

	if (freq == NULL)
		return -1;
	scale = attention_factor(&c->rope);
	for (i = 0; i < half; i++)
		freq[i] = frequency(&c->rope, (double)i, (double)c->head_dim);
	for (p = from; p < to; p++, table += 2 * half)
		for (i = 0; i < half; i++) {
			a = (double)p * freq[i];
			table[i] = (float)(cos(a) * scale);
			table[half + i] = (float)(sin(a) * scale);
		}
	free(freq);
	return 0;
}
