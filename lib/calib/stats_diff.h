/* How the statistics in one stream differ from those in another. */
#ifndef SQ_CALIB_STATS_DIFF_H
#define SQ_CALIB_STATS_DIFF_H

#include "formats/fmt_stats.h"

struct sq_stats_diff {
	char tensor[SQ_NAME];		/* the first that the record concerns */
	uint64_t tokens_a, tokens_b;
	double h;		/* |Hb/nb - Ha/na| / |Ha/na|, Frobenius norms;
				   of the diagonal where there is no H */
	double mean;		/* the same of the means */
	int same;		/* not a bit differs */
};

/*
 * The next pair of records on linear layers, in the order of the streams: 1;
 * 0 when both have no more; -1 with the reason, also when they do not match.
 */
int	 sq_stats_diff_next(struct sq_stats_diff *, struct sq_in *a,
	    struct sq_in *b, char *err);

#endif
