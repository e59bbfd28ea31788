/* Several streams of one model, of which each has quantized other tensors,
 * become one. */
#ifndef SQ_MODEL_MERGE_H
#define SQ_MODEL_MERGE_H

#include "base/progress.h"
#include "formats/fmt_stream.h"

#define SQ_MAX_MERGE	256

/*
 * Everything up to the ends of all n inputs, whose names are for messages: each
 * tensor from the first in which it is quantized, else from the first; no
 * statistics; the provenance of all.  The caller adds his own and END.  Bounded
 * memory: no payload is held.  -1 with the reason.
 */
int	 sq_merge(struct sq_in *in, const char *const *name, size_t n,
	    struct sq_out *, struct sq_progress *, char *err);

#endif
