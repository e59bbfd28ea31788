/*
 * What requests bring forth, written in the order in which they were asked: the
 * first one that is not done streams, the others wait in memory.
 */
#ifndef SQ_ENGINE_ANSWERS_H
#define SQ_ENGINE_ANSWERS_H

#include <stdio.h>

#include "engine/backend.h"

enum sq_answer_form { SQ_ANSWER_TEXT, SQ_ANSWER_JSON, SQ_ANSWER_CSV };

struct sq_answers {
	FILE *out;
	const struct sq_runner *b;
	enum sq_answer_form form;
	size_t logprobs;		/* CSV: alternatives of a position */
	int times;			/* JSON: with how long it took */
	void (*failed)(size_t index, const char *why);	/* told as it happens */
	size_t n, ended, nfailed;	/* answers so far */
	struct sq_usage sum;		/* of all that ended: tokens */
	double ttft;			/* seconds, summed over those with any */
	double after;			/* seconds after the first token */
	size_t with_first, later;	/* answers, tokens after the first */
	/* private */
	struct sq_answer *first, **last;
	struct sq_sampler best;
};

struct sq_answer {
	struct sq_answers *all;
	size_t index;			/* from 1 on */
	size_t shown;			/* tokens whose text is wanted */
	/* private */
	FILE *mem;
	char *buf;
	size_t len;
	FILE *text;			/* JSON: what comes, until the end */
	char *said;
	size_t nsaid;
	int done;
	struct sq_answer *next;
};

int	 sq_answers_init(struct sq_answers *, const struct sq_runner *,
	    FILE *out, enum sq_answer_form, size_t logprobs, char *err);
void	 sq_answers_release(struct sq_answers *);

/* The next answer: goes with sq_answer_event() as a request's callback.  NULL
 * when there is no memory. */
struct sq_answer *sq_answers_new(struct sq_answers *);
void	 sq_answer_event(void *answer, const struct sq_event *);

/* There will be none, for that reason. */
void	 sq_answer_fail(struct sq_answer *, const char *why);

#endif
