/*
 * The profile that a model was made by, told from its tensors: what sq-pack
 * stores with an artifact, and holds against the profile that it was given.
 */
#ifndef SQ_MODEL_PROFILE_MADE_H
#define SQ_MODEL_PROFILE_MADE_H

#include "base/tensor.h"
#include "model/config.h"
#include "schema/profile.h"

struct sq_made;				/* a matrix */

struct sq_profile_made {
	struct sq_made *made;
	size_t n;
	int failed;			/* there was no memory */
};

/* slot: NULL where it has none. */
void	 sq_profile_made_add(struct sq_profile_made *,
	    const struct sq_tensor *, const struct sq_slot *slot);
void	 sq_profile_made_release(struct sq_profile_made *);

/*
 * The profile, the caller's to release: the form that most weights of linear
 * layers have, the others as overrides.  -1 with the reason.
 */
int	 sq_profile_made(const struct sq_profile_made *, struct sq_profile *,
	    char *err);

/* 1 when all matrices are what the profile says. */
int	 sq_profile_made_by(const struct sq_profile_made *,
	    const struct sq_profile *);

/* What a matrix is. */
void	 sq_profile_rule_of(const struct sq_tensor *, struct sq_profile_rule *);

/* Whether a tensor is what the profile says: 0, or -1 with the reason. */
int	 sq_profile_holds(const struct sq_profile *, const struct sq_tensor *,
	    const struct sq_slot *slot, char *err);

#endif
