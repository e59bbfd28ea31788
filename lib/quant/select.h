/*
 * Which tensors a filter works on: the weights of the blocks' linear layers,
 * unless a profile, or globs (fnmatch(3)) on the names, say otherwise.
 */
#ifndef SQ_QUANT_SELECT_H
#define SQ_QUANT_SELECT_H

#include "base/tensor.h"
#include "model/config.h"
#include "schema/profile.h"

#define SQ_GLOBS	64

struct sq_select {
	const char *only[SQ_GLOBS], *except[SQ_GLOBS];
	int nonly, nexcept;
	int matched[SQ_GLOBS];		/* only[i] has matched a tensor */
	const struct sq_profile *profile;	/* chooses where --only does
						   not; or NULL */
};

/* -1 when there are too many. */
int	 sq_select_only(struct sq_select *, const char *glob);
int	 sq_select_except(struct sq_select *, const char *glob);

/* 1 when the matrix t, whose slot this is (NULL: none), is to be worked on. */
int	 sq_select(struct sq_select *, const struct sq_tensor *t,
	    const struct sq_slot *slot);

/* 1 when --only or the profile names it expressly; t need not exist yet. */
int	 sq_select_named(const struct sq_select *, const char *name);

/* The first --only that never matched, or NULL. */
const char *sq_select_unused(const struct sq_select *);

#endif
