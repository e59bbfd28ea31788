/*
 * Tasks: questions with answers that can be right or wrong.  An item either
 * offers continuations, of which the likeliest counts as the answer, or lets the
 * model write one.  task_read.c makes items of the files that hold them,
 * task_run.c puts them to a model, answer.c compares what it wrote.
 * sq-metrics(7) defines every figure.
 */
#ifndef SQ_EVAL_TASK_H
#define SQ_EVAL_TASK_H

#include <stdint.h>
#include <stdio.h>

#include "base/err.h"
#include "base/progress.h"
#include "eval/shard.h"
#include "kernels/kern.h"
#include "kv/kvpolicy.h"
#include "model/model.h"
#include "model/tokenizer.h"

enum sq_task_kind {
	SQ_CHOICE,		/* JSON lines: query, choices, gold */
	SQ_MMLU,		/* CSV: a question, four answers, which one */
	SQ_HELLASWAG,		/* six lines: context, which one, four endings */
	SQ_LAMBADA,		/* JSON lines: context, continuation */
	SQ_FREE,		/* JSON lines: prompt, answer */
	SQ_LONGBENCH,		/* JSON lines: input, context, answers, dataset */
	SQ_NEEDLE,		/* made here: needle.c */
	SQ_TASK_KINDS
};

/* Their names, as in --task, NULL at the end. */
extern const char *const sq_task_kinds[];

/* How a written answer is compared with the right ones. */
enum sq_answer_rule {
	SQ_EXACT,		/* the first line, stripped */
	SQ_F1,			/* words in common */
	SQ_F1_LINE,		/* the same of the first line */
	SQ_ROUGE_L,		/* longest common subsequence of words */
	SQ_CLASSIFY,		/* names of classes in the answer */
	SQ_RETRIEVE,		/* numbers: those that are the right one */
	SQ_COUNT,
	SQ_EDIT			/* edit similarity of the first code line */
};

struct sq_item {
	char *id, *group;	/* group: subject, data set, depth; or "" */
	char *prompt;
	char **option;		/* continuations of the prompt */
	size_t noptions;	/* 0: the model writes */
	size_t gold;		/* the right option */
	char **answer;		/* right answers */
	size_t nanswers;
	char **classes;		/* SQ_CLASSIFY */
	size_t nclasses;
	enum sq_answer_rule rule;
	size_t make;		/* tokens to write, at most */
};

struct sq_task {
	enum sq_task_kind kind;
	char *name;
	struct sq_item *item;
	size_t n;
};

struct sq_task_options {
	size_t limit;		/* items, evenly spread; 0: all */
	size_t make;		/* tokens to write; 0: the task's own number */
	size_t shots;		/* SQ_MMLU: examples, from ../dev */
	struct sq_shard shard;	/* of the items that the limit leaves */
	/* SQ_NEEDLE */
	size_t least, most;	/* tokens of a prompt, about */
	size_t depths, each;	/* places, questions at each */
	uint64_t seed;
};

/*
 * The items of a file (of a directory of CSV files: SQ_MMLU): -1 with the
 * reason, which names the line.  Either way it is released.
 */
int	 sq_task_read(struct sq_task *, enum sq_task_kind, const char *path,
	    const struct sq_task_options *, char *err);
void	 sq_task_release(struct sq_task *);

/* For readers: one more item, all zeros; NULL when there is no memory. */
struct sq_item *sq_task_add(struct sq_task *);

/* Leaves the items of a shard: -1 when it has none. */
int	 sq_task_cut(struct sq_task *, const struct sq_shard *, char *err);

/* SQ_NEEDLE: questions on a fact in `hay', at each length and depth. */
int	 sq_needle_make(struct sq_task *, const char *hay, size_t len,
	    const struct sq_tokenizer *, const struct sq_task_options *,
	    char *err);

/* What one item gave. */
struct sq_outcome {
	double value[2];	/* by kind: see sq_task_metrics() */
	size_t tokens;		/* of the prompt */
	int skipped;		/* longer than the context */
	char *said;		/* what was written, or NULL */
};

/* The names of the figures of a kind; the second may be NULL. */
const char *const *sq_task_metrics(enum sq_task_kind);

/* Sees each outcome in the order of the items; -1 stops. */
typedef int sq_outcome_fn(void *arg, size_t item, const struct sq_outcome *);

struct sq_task_run {
	struct sq_ctx *ctx;
	const struct sq_model *model;
	const struct sq_tokenizer *tok;
	enum sq_prec prec;
	const struct sq_kv_policy *kv;	/* NULL: plain */
	int bos;		/* the tokenizer's beginning of a text */
	int special;		/* answers: special tokens as text */
	const uint32_t *eos;
	size_t neos;
	size_t batch;		/* items at a time; 0: 24 */
	struct sq_progress *progress;	/* counts items */
	sq_outcome_fn *each;
	void *arg;
	uint64_t *seen;		/* blocks of keys that sparse attention saw, and
				   all of them, are added; or NULL */
};

/*
 * Puts items `first' and on to the model.  An item that does not fit into the
 * context is skipped, and counts as wrong.  -1 with the reason.
 */
int	 sq_task_ask(const struct sq_task_run *, const struct sq_task *,
	    size_t first, char *err);

/* How right a written answer is, from 0 to 1. */
double	 sq_answer_score(const struct sq_item *, enum sq_answer_rule,
	    const char *said);

/* A mean of n values with its standard error and the 95 % interval (Wilson's
 * where all values are 0 or 1). */
struct sq_interval {
	size_t n;
	double mean, stderror, low, high;
};

struct sq_interval sq_interval_of(const double *value, size_t n);

#endif
