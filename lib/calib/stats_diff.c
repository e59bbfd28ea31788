/* How statistics differ; see stats_diff.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "calib/stats_diff.h"

/* The next record on linear layers: 1, or 0 at the end. */
static int
next(struct sq_stats *s, struct sq_in *in)
{
	int r;

	while ((r = sq_in_next(in)) > 0) {
		if (in->type != SQ_STATS)
			continue;
		if (sq_stats_read(s, in, SQ_MAX_PAYLOAD) < 0)
			return -1;
		if (!s->is_kv)
			return 1;
		sq_stats_release(s);
	}
	return r;
}

/* |b/nb - a/na| / |a/na| */
static double
relative(const float *a, double na, const float *b, double nb, uint64_t n)
{
	double d, diff = 0, norm = 0;
	uint64_t i;

	for (i = 0; i < n; i++) {
		d = b[i] / nb - a[i] / na;
		diff += d * d;
		norm += (double)a[i] * a[i] / (na * na);
	}
	return norm > 0 ? sqrt(diff / norm) : diff > 0 ? INFINITY : 0;
}

/* n bytes each; neither is there, when the statistics have been rotated. */
static int
same_bytes(const void *a, const void *b, uint64_t n)
{
	if (a == NULL || b == NULL)
		return a == b;
	return memcmp(a, b, n) == 0;
}

static void
compare(struct sq_stats_diff *d, const struct sq_stats *a,
    const struct sq_stats *b)
{
	uint64_t c = a->channels, n = a->h != NULL ? sq_triangle(c) : c;
	const float *ha = a->h != NULL ? a->h : a->hdiag;
	const float *hb = b->h != NULL ? b->h : b->hdiag;

	memcpy(d->tensor, a->tensor[0], SQ_NAME);
	d->tokens_a = a->tokens;
	d->tokens_b = b->tokens;
	d->h = relative(ha, (double)a->tokens, hb, (double)b->tokens, n);
	d->mean = a->mean == NULL || b->mean == NULL ?
	    (a->mean == b->mean ? 0 : INFINITY) :
	    relative(a->mean, 1, b->mean, 1, c);
	d->same = a->tokens == b->tokens &&
	    same_bytes(ha, hb, n * sizeof(*ha)) &&
	    same_bytes(a->mean, b->mean, c * sizeof(*ha)) &&
	    same_bytes(a->absmean, b->absmean, c * sizeof(*ha)) &&
	    same_bytes(a->min, b->min, c * sizeof(*ha)) &&
	    same_bytes(a->max, b->max, c * sizeof(*ha)) &&
	    same_bytes(a->hist, b->hist, SQ_HIST * sizeof(*a->hist));
}

int
sq_stats_diff_next(struct sq_stats_diff *d, struct sq_in *ina,
    struct sq_in *inb, char *err)
{
	struct sq_stats a = { .h = NULL }, b = { .h = NULL };
	int ra = next(&a, ina), rb = next(&b, inb), r = -1;

	if (ra < 0)
		sq_fail(err, "%s", ina->err);
	else if (rb < 0)
		sq_fail(err, "%s", inb->err);
	else if (ra != rb)
		sq_fail(err, "one has more statistics than the other");
	else if (ra == 0)
		r = 0;
	else if (strcmp(a.tensor[0], b.tensor[0]) != 0 ||
	    a.channels != b.channels || (a.h == NULL) != (b.h == NULL))
		sq_fail(err, "statistics of '%s' against those of '%s': not "
		    "the same form", a.tensor[0], b.tensor[0]);
	else {
		compare(d, &a, &b);
		r = 1;
	}
	sq_stats_release(&a);
	sq_stats_release(&b);
	return r;
}
