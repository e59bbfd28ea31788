/* A static scale of activations; see act_scale.h. */
#include <math.h>

#include "quant/act_scale.h"

#define TRIES	51

/* The lower end of a bin of sq-stream(5), STATS. */
static double
bin_start(int i)
{
	return i == 0 ? 0 : exp2((i - 1) / 4.0 - 32);
}

/* The integral of (x - clip)^2 from a to b, by b - a. */
static double
clipped(double a, double b, double clip)
{
	double u = a - clip, v = b - clip;

	return (u * u + u * v + v * v) / 3;
}

/* The expected error of one value of a bin: a step's share within the clip,
 * what is cut off beyond it. */
static double
bin_error(double a, double b, double clip)
{
	double step = clip / 127, within = step * step / 12, inside;

	if (b <= clip)
		return within;
	if (a >= clip)
		return clipped(a, b, clip);
	inside = (clip - a) / (b - a);
	return inside * within + (1 - inside) * clipped(clip, b, clip);
}

static double
error_of(const struct sq_stats *s, double most, double clip)
{
	double sum = 0, a, b;
	int i;

	for (i = 0; i < SQ_HIST; i++) {
		if (s->hist[i] == 0)
			continue;
		a = fmin(bin_start(i), most);
		b = fmin(bin_start(i + 1), most);
		sum += (double)s->hist[i] * bin_error(a, b, clip);
	}
	return sum;
}

float
sq_act_static_scale(const struct sq_stats *s, enum sq_act_kind kind)
{
	double most = 0, clip, e, least = INFINITY, best;
	uint64_t c;
	int i;

	if (s->min == NULL || s->max == NULL)
		return 0;
	for (c = 0; c < s->channels; c++)
		most = fmax(most, fmax(fabs((double)s->min[c]),
		    fabs((double)s->max[c])));
	best = most;
	for (i = 0; kind == SQ_ACT_INT8 && s->hist != NULL && i < TRIES;
	    i++) {
		clip = most * (1 - 0.01 * i);
		if ((e = error_of(s, most, clip)) < least) {
			least = e;
			best = clip;
		}
	}
	return (float)(best / sq_act_top(kind));
}
