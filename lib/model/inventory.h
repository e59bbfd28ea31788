/*
 * Which of an architecture's tensors a model has brought so far: shapes are
 * checked as they come, what is missing is named at the end.
 */
#ifndef SQ_MODEL_INVENTORY_H
#define SQ_MODEL_INVENTORY_H

#include "model/config.h"

struct sq_inventory {
	struct sq_config config;
	struct sq_slot *slot;
	size_t n;
	unsigned char *seen;		/* [n] */
};

/* Parses config.json: 0, or -1 with the reason. */
int	 sq_inventory_init(struct sq_inventory *, const char *config,
	    size_t len, char *err);
void	 sq_inventory_release(struct sq_inventory *);

/* Notes a tensor: -1 when it has a wrong shape or came before.  *slot is its
 * slot, or NULL when the architecture does not name it. */
int	 sq_inventory_add(struct sq_inventory *, const struct sq_tensor *,
	    const struct sq_slot **slot, char *err);

/* -1 when a tensor that is needed has not come. */
int	 sq_inventory_complete(const struct sq_inventory *, char *err);

#endif
