/* The engine in this process as what a load is sent to. */
#ifndef SQ_EVAL_LOAD_ENGINE_H
#define SQ_EVAL_LOAD_ENGINE_H

#include "engine/batcher.h"
#include "eval/load.h"

struct sq_load_engine {
	struct sq_load_server server;
	struct sq_batcher *batcher;
	struct seat *seat;		/* of each request */
};

/* Room for the load's requests: -1 with the reason.  how->context and how->seqs
 * may be 0: what the load needs. */
int	 sq_load_engine_open(struct sq_load_engine *,
	    const struct sq_batcher_how *, struct sq_load *, char *err);
void	 sq_load_engine_close(struct sq_load_engine *);

#endif
