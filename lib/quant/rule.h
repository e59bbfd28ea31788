/*
 * How a tensor is to be quantized: what the profile says of it, over what the
 * tool does by itself, and under what its flags say.
 */
#ifndef SQ_QUANT_RULE_H
#define SQ_QUANT_RULE_H

#include <jansson.h>

#include "kernels/kern.h"
#include "schema/profile.h"

/* What flags have set in `usual': it wins over the profile. */
enum { SQ_GIVEN_GRID = 1, SQ_GIVEN_GROUP = 2, SQ_GIVEN_ZEROS = 4,
	SQ_GIVEN_SCALE = 8 };

struct sq_rules {
	const struct sq_profile *profile;	/* or NULL */
	struct sq_qrule usual;		/* the tool's, and its flags' */
	unsigned given;
};

/* The rule for the matrix of that name; linear: the weight of a block's linear
 * layer. */
struct sq_qrule sq_rule(const struct sq_rules *, const char *name,
	    int linear);

/* How the inputs of linear layers are quantized: as sq_act has it, but for a
 * static scale, which is not known yet, -1. */
struct sq_act sq_rule_act(const struct sq_profile *);

/* With a profile, the options of a provenance record have that, and of grid,
 * group, asym and scale those that are flags. */
int	 sq_rule_provenance(const struct sq_rules *, json_t *options);

#endif
