/*
 * A load: requests that come to a server at given times, whatever the server is
 * (load_engine.c: the engine in this process; load_http.c: an endpoint that
 * speaks OpenAI's protocol), timed by one clock.
 *
 *	load_plan.c	who comes when, and with which prompt
 *	load.c		sends them, and takes the times
 *	load_report.c	what that comes to, under our names and others'
 */
#ifndef SQ_EVAL_LOAD_H
#define SQ_EVAL_LOAD_H

#include <stdint.h>
#include <stdio.h>

#include "base/progress.h"
#include "eval/energy.h"
#include "eval/series.h"
#include "model/tokenizer.h"
#include "report/price.h"

enum sq_arrival { SQ_POISSON, SQ_FIXED, SQ_TRACE };

extern const char *const sq_arrivals[];	/* their names, NULL at the end */

/* How requests come.  A rate of 0: all at once, or, with at_once, each when one
 * before it has ended. */
struct sq_load_how {
	enum sq_arrival arrival;
	double rate;			/* a second */
	size_t at_once;			/* at work, at most; 0: no limit */
	size_t requests;		/* 0: those of the trace, or 32 */
	size_t prompt, generate;	/* tokens, where there is no trace */
	const char *trace;		/* CSV with lengths, and times; or NULL */
	const char *text;		/* what prompts are cut from, or NULL:
					   random tokens */
	uint64_t seed;
	double slo_ttft, slo_tpot, slo_e2e;	/* ms; 0: none */
};

struct sq_load_request {
	size_t prompt, generate;	/* tokens wanted */
	double due;			/* seconds after the start */
	uint32_t *ids;			/* [prompt], or NULL: */
	char *text;			/* about as many tokens */
	/* what came of it: seconds, as sq_now() */
	double start, first, last;
	size_t in, out;			/* tokens; in: 0 when unknown */
	int ok;
};

struct sq_load;

/* What requests are sent to. */
struct sq_load_server {
	/* Request i goes out: 0, or -1 when it cannot. */
	int (*send)(void *, struct sq_load *, size_t i, char *err);
	/* Works, or waits for at most that many seconds. */
	int (*wait)(void *, struct sq_load *, double seconds, char *err);
	void *arg;
};

struct sq_load {
	struct sq_load_how how;
	struct sq_load_request *request;
	size_t n, active, done, failed;
	char why[SQ_ERR];		/* the first failure's */
	double began, ended;
	struct sq_series itl;		/* ms, of all that were completed */
	size_t *second;			/* [nseconds]: tokens in each */
	size_t nseconds;
	struct sq_energy energy;
	double joules;			/* NAN when nothing tells */
	struct sq_progress *progress;
	/* private: gaps of the requests at work, [n] */
	struct sq_series *gap;
};

/*
 * The requests: their ids, where there is a tokenizer or a vocabulary (of
 * random tokens); else their texts.  -1 with the reason.
 */
int	 sq_load_plan(struct sq_load *, const struct sq_load_how *,
	    const struct sq_tokenizer *, size_t vocab, char *err);
void	 sq_load_release(struct sq_load *);

/* Sends them all and waits for them.  A request that fails counts; -1 when
 * nothing can go on. */
int	 sq_load_run(struct sq_load *, const struct sq_load_server *,
	    char *err);

/* For servers: n more tokens of request i came now; it has ended, well or with
 * a reason. */
void	 sq_load_tokens(struct sq_load *, size_t i, size_t n);
void	 sq_load_ended(struct sq_load *, size_t i, const char *why);

/* What describes a run besides its times. */
struct sq_load_about {
	const char *engine, *version, *model, *label, *precision;
	double weights, kv, activations, peak;	/* bytes; NAN: unknown */
	const struct sq_price *price;	/* per_hour 0: none */
};

enum sq_load_form { SQ_LOAD_TABLE, SQ_LOAD_CSV, SQ_LOAD_JSON };

int	 sq_load_report(FILE *, const struct sq_load *,
	    const struct sq_load_about *, enum sq_load_form, char *err);

#endif
