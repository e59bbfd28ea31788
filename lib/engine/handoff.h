/*
 * A prompt's cache from the process that computes it to the one that answers:
 * what the records of sq-kv(5), Stream, carry.
 */
#ifndef SQ_ENGINE_HANDOFF_H
#define SQ_ENGINE_HANDOFF_H

#include "engine/backend.h"
#include "formats/fmt_kv.h"

struct sq_handoff_counts {
	size_t sequences, blocks;	/* blocks: of all sequences */
	size_t sent, had;		/* pages that went; that were there */
};

/* ---- the side that computes ---- */

struct sq_sender {
	struct sq_runner *b;
	struct sq_kvout out;
	struct sq_kvin back;		/* fd -1: there is no way back */
	struct sq_handoff_counts n;
	char err[SQ_ERR];
};

int	 sq_sender_head(struct sq_sender *);

/* All of a sequence: seq holds ids[0 .. n-2].  request: what a JSON prompt
 * said, or NULL. */
int	 sq_sender_seq(struct sq_sender *, uint64_t id, struct sq_kvseq *seq,
	    const uint32_t *ids, size_t n, json_t *request);

/* There is none, and why. */
int	 sq_sender_error(struct sq_sender *, uint64_t id, const char *why);
int	 sq_sender_end(struct sq_sender *);

/* ---- the side that answers ---- */

struct sq_arrival {
	uint64_t id;
	uint32_t *ids;
	size_t n;
	json_t *request;		/* or NULL */
	char *error;			/* why there is no cache, or NULL */
	struct sq_kvseq seq;		/* n - 1 tokens of the engine's cache */
	int done;			/* READY has come */
	/* private */
	unsigned char *want;		/* [blocks]: bits of WANT */
	struct sq_arrival *next;
};

struct sq_receiver {
	struct sq_runner *b;
	struct sq_kvin in;
	struct sq_kvout back;		/* fd -1: there is no way back */
	struct sq_handoff_counts n;
	int ended;			/* END has come */
	char err[SQ_ERR];
	/* private */
	char policy[SQ_KV_TEXT], model[SQ_DIGEST];
	struct sq_kvcache other;	/* of the stream's policy, when it is
					   not the engine's */
	int converts;
	unsigned char root[SQ_KV_HASH];
	struct sq_arrival *first;
};

/* HEAD: policy is then set; the backend may be opened after it. */
int	 sq_receiver_head(struct sq_receiver *);

/* The backend is known: refuses another model. */
int	 sq_receiver_begin(struct sq_receiver *, struct sq_runner *);

/*
 * The next record.  1: *a is a sequence that has arrived, or failed (its error
 * is set); it and its seq are the caller's, to be freed by sq_arrival_free().
 * 2: nothing has arrived yet.  0: END.  -1: nothing more can come.
 */
int	 sq_receiver_next(struct sq_receiver *, struct sq_arrival **a);
void	 sq_arrival_free(struct sq_arrival *);
void	 sq_receiver_release(struct sq_receiver *);

#endif
