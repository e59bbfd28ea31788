/*
 * The options of the tools that generate, and what a prompt may say in their
 * place: a line of text, or a JSON object.
 */
#ifndef SQ_ENGINE_GENOPT_H
#define SQ_ENGINE_GENOPT_H

#include <getopt.h>
#include <jansson.h>

#include "engine/textout.h"
#include "kernels/kern.h"
#include "model/act.h"
#include "model/sampler.h"

struct sq_genopt {
	struct sq_sampling how;
	size_t n;			/* tokens to make, at most */
	size_t logprobs;		/* alternatives; 0: none */
	const char *stop[SQ_STOPS];
	size_t nstop;
	int no_bos, ignore_eos;
	/* of the engine */
	enum sq_prec prec;
	struct sq_act_choice act;
	struct sq_attn_choice attention;
	const char *kv, *kv_prefill;	/* or NULL */
	double link;			/* bytes a second */
	size_t seqs, context;		/* 0: what the model has */
};

enum { SQ_GEN_F32 = 512, SQ_GEN_GREEDY, SQ_GEN_MIN_P, SQ_GEN_NO_BOS,
	SQ_GEN_SEED, SQ_GEN_TEMPERATURE, SQ_GEN_TOP_K, SQ_GEN_TOP_P,
	SQ_GEN_STOP, SQ_GEN_KV, SQ_GEN_KV_PREFILL, SQ_GEN_LINK_RATE,
	SQ_GEN_BATCH, SQ_GEN_CONTEXT, SQ_GEN_IGNORE_EOS, SQ_GEN_ACT,
	SQ_GEN_ATTENTION };

/* How a model runs. */
#define SQ_GEN_LONG							\
	{ "batch", required_argument, NULL, SQ_GEN_BATCH },		\
	{ "context", required_argument, NULL, SQ_GEN_CONTEXT },		\
	{ "f32", no_argument, NULL, SQ_GEN_F32 },			\
	{ "kv", required_argument, NULL, SQ_GEN_KV },			\
	{ "link-rate", required_argument, NULL, SQ_GEN_LINK_RATE }

/* How tokens are chosen. */
#define SQ_GEN_SAMPLING_LONG						\
	{ "greedy", no_argument, NULL, SQ_GEN_GREEDY },			\
	{ "ignore-eos", no_argument, NULL, SQ_GEN_IGNORE_EOS },		\
	{ "min-p", required_argument, NULL, SQ_GEN_MIN_P },		\
	{ "seed", required_argument, NULL, SQ_GEN_SEED },		\
	{ "stop", required_argument, NULL, SQ_GEN_STOP },		\
	{ "temperature", required_argument, NULL, SQ_GEN_TEMPERATURE },	\
	{ "tokens", required_argument, NULL, 'n' },			\
	{ "top-k", required_argument, NULL, SQ_GEN_TOP_K },		\
	{ "top-p", required_argument, NULL, SQ_GEN_TOP_P }

void	 sq_genopt_init(struct sq_genopt *);

/* 1: it was one of these; 0: it was not; -1: a bad argument, with the reason.
 * Arguments are kept, not copied. */
int	 sq_genopt_take(struct sq_genopt *, int c, const char *arg, char *err);

/* The members of a JSON prompt in place of options: max_tokens, temperature,
 * top_k, top_p, min_p, seed, stop.  Strings are the object's. */
int	 sq_genopt_json(struct sq_genopt *, const json_t *, char *err);

#endif
