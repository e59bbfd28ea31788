/* The angles of the rotary embedding (Su et al. 2021) with its scalings. */
#ifndef SQ_MODEL_ROPE_H
#define SQ_MODEL_ROPE_H

#include "model/config.h"

/*
 * What the op `rope' wants for positions from .. to-1: for each, head_dim/2
 * cosines, then as many sines, into table (position `from' first).
 * Linear: kaiokendev 2023.  Llama 3: as Meta published it.  YaRN: Peng et al.
 * 2023, with its attention factor in cosines and sines.
 */
int	 sq_rope_table(const struct sq_config *, size_t from, size_t to,
	    float *table);

/* By what scaling divides frequency i of a head of dim values. */
double	 sq_rope_divisor(const struct sq_rope *, double i, double dim);

#endif
