/*
 * A model becomes a stream: the first stage of every pipeline.
 */
#ifndef SQ_MODEL_IMPORT_H
#define SQ_MODEL_IMPORT_H

#include "base/progress.h"
#include "formats/fmt_stream.h"
#include "kernels/kern.h"
#include "model/source.h"

/*
 * HEADER, tensors, provenance, END: 0, or -1 with the reason.  dense: what
 * turns quantized tensors into their values, in the type that they had; NULL:
 * they stay as they are.
 */
int	 sq_import(const struct sq_source *, struct sq_out *,
	    struct sq_ctx *dense, const char *version, struct sq_progress *,
	    char *err);

/*
 * For tools that take -m: the descriptor of a stream, or the read end of a pipe
 * that a child process feeds with another model.  Call it before there are
 * threads.  -1 with the reason in err.  When the child fails, its stream has no
 * end, which the reader refuses.
 */
int	 sq_import_pipe(const char *path, const char *version, char *err);

#endif
