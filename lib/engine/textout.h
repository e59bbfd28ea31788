/*
 * Tokens to the text that may be shown already: whole characters, and nothing
 * that could turn out to be the beginning of a stop string.
 */
#ifndef SQ_ENGINE_TEXTOUT_H
#define SQ_ENGINE_TEXTOUT_H

#include "model/tokenizer.h"

#define SQ_STOPS	16		/* strings, at most */

struct sq_textout {
	struct sq_detok detok;
	char *stop[SQ_STOPS];		/* copies */
	size_t nstop;
	char *held;			/* not yet given out */
	size_t n, cap, given;		/* given: of held, by the last call */
	int stopped;			/* a stop string has come */
	char err[SQ_ERR];
};

/* Released by sq_textout_release() either way. */
int	 sq_textout_init(struct sq_textout *, const struct sq_tokenizer *,
	    const char *const *stop, size_t nstop);
void	 sq_textout_release(struct sq_textout *);

/* What the token adds to what can be shown: *len bytes until the next call;
 * NULL when there is no memory.  Behind a stop string nothing comes. */
const char *sq_textout_put(struct sq_textout *, uint32_t id, size_t *len);

/* All that was held back. */
const char *sq_textout_flush(struct sq_textout *, size_t *len);

#endif
