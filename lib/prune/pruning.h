/*
 * A smaller model: fewer groups of heads, fewer channels of the MLPs, fewer
 * layers.  All blocks lose as much, so that one configuration describes them.
 *
 *	attention	norm  STATS  q k v  STATS (kv)  STATS  o
 *	MLP		norm  STATS  gate up  STATS  down
 *
 * What goes is decided at o and down (shrink.h), so what stands before these is
 * held until then.  Statistics are those of another model after that, and are
 * not passed on.
 */
#ifndef SQ_PRUNE_PRUNING_H
#define SQ_PRUNE_PRUNING_H

#include "formats/fmt_stats.h"
#include "prune/influence.h"
#include "prune/shrink.h"
#include "quant/filter.h"

#define SQ_CHANNELS	128		/* of an MLP: a multiple of so many */

struct sq_pruned {			/* a record that is held */
	struct sq_tensor t;
	const struct sq_slot *slot;
	unsigned char *payload;
};

struct sq_pruning {
	struct sq_filter f;		/* first: it is cast back */
	/* options */
	double heads, channels;		/* the parts that go */
	struct sq_influence layers;	/* which layers go */
	double damp;
	uint64_t memory;		/* bytes, of the process; 0: enough */
	struct sq_ctx *ctx;
	const struct sq_lapack *lapack;
	/* A layer has shrunk: results in s. */
	void (*made)(void *arg, const struct sq_tensor *,
	    const struct sq_shrink *s);
	/* state */
	uint64_t groups, ffn, kept_layers;	/* what is left */
	struct sq_stats stats;		/* of o or down, the last that came */
	struct sq_pruned held[16];
	int nheld;
};

/* Makes the filter do the work. */
void	 sq_pruning_init(struct sq_pruning *);
void	 sq_pruning_release(struct sq_pruning *);

#endif
