/* A load from its options to its report: the driver behind sq-bench load. */
#ifndef SQ_EVAL_LOAD_ALL_H
#define SQ_EVAL_LOAD_ALL_H

#include "eval/load.h"
#include "eval/load_http.h"
#include "kernels/kern.h"
#include "kv/kvpolicy.h"

#define SQ_LOAD_HEADERS	16

struct sq_load_all {
	struct sq_load_how how;
	struct sq_http_how http;	/* url: the target, where it is one */
	const char *header[SQ_LOAD_HEADERS];
	const char *model;		/* a path: the engine in this process */
	const char *tokenizer;		/* a model whose tokens an endpoint
					   gets, or NULL: text */
	const char *label, *version;
	struct sq_price price;
	enum sq_prec prec;
	const char *kv;			/* sq-kv(5), or NULL: plain */
	struct sq_ctx *ctx;
	struct sq_progress *progress;
	enum sq_load_form form;
	size_t failed;			/* requests, after the run */
	char why[SQ_ERR];		/* the first one's reason */
};

/* "ttft=MS,tpot=MS,e2e=MS", any of them; -1 with the reason. */
int	 sq_load_slo(struct sq_load_how *, const char *text, char *err);

int	 sq_load_all(struct sq_load_all *, FILE *, char *err);

#endif
