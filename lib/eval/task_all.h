/* Several tasks, several models: the driver behind sq-eval --task. */
#ifndef SQ_EVAL_TASK_ALL_H
#define SQ_EVAL_TASK_ALL_H

#include "eval/task_report.h"

#define SQ_MAX_TASKS	32

struct sq_tasks {
	/* options */
	struct {
		enum sq_task_kind kind;
		const char *path;
	} want[SQ_MAX_TASKS];
	size_t n;
	struct sq_task_options options;
	const char *items;		/* the log of items, or NULL */
	int csv, bos, special;
	size_t batch;
	enum sq_prec prec;
	const struct sq_kv_policy *kv;	/* of all but the baseline, or NULL */
	const char *act, *attention;	/* what was chosen for those, or NULL */
	struct sq_ctx *ctx;
	struct sq_progress *progress;
	FILE *out;
	uint64_t seen[2];		/* blocks of keys, as in sq_task_run */
	/* what the baseline gave: the first model that was asked */
	struct sq_task task[SQ_MAX_TASKS];
	struct sq_task_report base[SQ_MAX_TASKS];
	int have_base;
};

/* "KIND=PATH" as --task gives it; -1 with the reason. */
int	 sq_tasks_want(struct sq_tasks *, const char *text, char *err);

/* All tasks with one model, whose name is for the rows; keep: it is the
 * baseline of those that follow. */
int	 sq_tasks_model(struct sq_tasks *, const struct sq_model *,
	    const char *name, int keep, char *err);
void	 sq_tasks_release(struct sq_tasks *);

#endif
