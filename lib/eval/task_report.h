/*
 * What tasks gave, as rows: a figure for each group of items and for all of
 * them, and a log of the items from which an interrupted run goes on.
 */
#ifndef SQ_EVAL_TASK_REPORT_H
#define SQ_EVAL_TASK_REPORT_H

#include "eval/task.h"

struct sq_task_report {
	FILE *out;
	int csv;
	const char *model;		/* its name in the rows */
	const char *digest;
	const char *settings;		/* "prec=bf16 bos=1 ..." */
	const struct sq_task *task;
	/* private */
	double *value[2];		/* [task->n] */
	size_t *tokens;
	size_t done;
	FILE *log;
};

/* The header line of the rows. */
void	 sq_task_header(FILE *, int csv);

/*
 * Makes room for the outcomes.  items: the path of the log, or NULL; what it
 * holds of this model, task and settings already is taken over, and r->done
 * tells where to go on.  -1 with the reason.
 */
int	 sq_task_report_init(struct sq_task_report *, const char *items,
	    char *err);
void	 sq_task_report_release(struct sq_task_report *);

/* An sq_outcome_fn: arg is the report. */
int	 sq_task_report_add(void *arg, size_t item, const struct sq_outcome *);

/*
 * The rows.  baseline, or NULL: the report of another model on the same task,
 * to which each figure is compared (McNemar's test, or a paired one).
 */
void	 sq_task_report_rows(const struct sq_task_report *,
	    const struct sq_task_report *baseline);

#endif
