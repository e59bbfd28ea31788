/*
 * An endpoint that speaks OpenAI's protocol, as what a load is sent to: vLLM,
 * llama.cpp's server, SGLang and others.  Answers are streamed; the times are
 * those at which their parts arrive here.
 */
#ifndef SQ_EVAL_LOAD_HTTP_H
#define SQ_EVAL_LOAD_HTTP_H

#include "eval/load.h"

struct sq_http_how {
	const char *url;		/* http://host:port/v1, or a path that
					   ends in /completions */
	const char *model;		/* NULL: the first that it lists */
	const char *const *header;	/* "Name: value" ... */
	size_t nheaders;
	double timeout;			/* seconds of a request; 0: none */
};

struct sq_load_http {
	struct sq_load_server server;
	struct sq_http_how how;
	char *url, *model;
	int chat;
	void *multi;			/* libcurl's */
	void *headers;
	struct talk *talk;		/* [n]: of each request */
	size_t n;
};

/* Is it a URL, and not a path? */
int	 sq_is_url(const char *);

/* Asks which models there are: -1 with the reason where nobody answers. */
int	 sq_load_http_open(struct sq_load_http *, const struct sq_http_how *,
	    struct sq_load *, char *err);
void	 sq_load_http_close(struct sq_load_http *);

#endif
