/*
 * What the filters that put tensors in the place of others have in common: a
 * stream passes, its HEADER says what the model is, which tensors are meant,
 * and what the filter is not for is copied.
 */
#ifndef SQ_QUANT_FILTER_H
#define SQ_QUANT_FILTER_H

#include "base/progress.h"
#include "formats/fmt_records.h"
#include "model/inventory.h"
#include "quant/rule.h"
#include "quant/select.h"

struct sq_filter {
	char err[SQ_ERR];
	/* options */
	const char *model;		/* -m; NULL: standard input */
	int compress;			/* -z */
	struct sq_select select;	/* --only, --except */
	const char *profile_name;	/* -p */
	struct sq_rules rules;		/* of the tool, and its flags */
	struct sq_progress *progress;
	/* What the filter does: 0, or -1 with the reason in err.  All but
	 * `tensor' may be NULL. */
	int (*header)(struct sq_filter *, const struct sq_files *); /* writes
					   the HEADER; NULL: as it is */
	int (*begin)(struct sq_filter *);	/* the model is known */
	int (*tensor)(struct sq_filter *, const struct sq_tensor *,
	    const struct sq_slot *);	/* slot: NULL where it has none */
	int (*record)(struct sq_filter *);	/* any other; NULL: copied */
	int (*end)(struct sq_filter *);		/* END has been read */
	/* the state of things */
	struct sq_in in;
	struct sq_out out;
	struct sq_inventory inv;
	char digest[SQ_DIGEST];		/* of the model */
	const char *name;		/* what messages call the input */
	struct sq_profile profile;	/* rules.profile, once it is there */
	struct sq_act act;		/* what it says of inputs, of tensors
					   that say nothing yet */
};

/*
 * The options: for getopt_long(3), and whoever got one that is among them.
 * 1: it was; 0: it was not; -1: one too many of its kind.
 */
#define SQ_FILTER_SHORT	"m:p:z"
#define SQ_FILTER_LONG							\
	{ "except", required_argument, NULL, SQ_FILTER_EXCEPT },	\
	{ "model", required_argument, NULL, 'm' },			\
	{ "only", required_argument, NULL, SQ_FILTER_ONLY },		\
	{ "profile", required_argument, NULL, 'p' },			\
	{ "zstd", no_argument, NULL, 'z' }

enum { SQ_FILTER_EXCEPT = 1024, SQ_FILTER_ONLY };

int	 sq_filter_option(struct sq_filter *, int c, const char *arg);

/*
 * Loads the profile, opens the model (call it before there are threads), or
 * standard input, and standard output.  version: the tool's.
 */
int	 sq_filter_open(struct sq_filter *, const char *version);

/* Writes what decides on the result: the model, the rules, the tensors that are
 * meant.  -1 when there is no memory. */
int	 sq_filter_key(const struct sq_filter *, FILE *);

/* How a tensor is to be quantized. */
struct sq_qrule sq_filter_rule(const struct sq_filter *,
	    const struct sq_tensor *, const struct sq_slot *);

/* All records up to END. */
int	 sq_filter_run(struct sq_filter *);

/*
 * PROVENANCE and END.  options (taken) are those of the tool itself; "only",
 * "except" and "profile" join them.  kernel: the level that computed.
 */
int	 sq_filter_finish(struct sq_filter *, const char *tool,
	    const char *version, json_t *options, const char *kernel);
void	 sq_filter_release(struct sq_filter *);

/*
 * A look at the whole model before f begins: `first', whose functions are set,
 * gets f's input, what it passes on goes to a temporary file, and f reads that
 * from its start.  `first' is released; err of f has the reason for -1.
 */
int	 sq_filter_survey(struct sq_filter *f, struct sq_filter *first);

/* For the functions above: copies the record at hand. */
int	 sq_filter_copy(struct sq_filter *);

/* 1 when the tensor is one of those that are meant, 0 when not; -1 when it is,
 * but has no weights to work on. */
int	 sq_filter_wants(struct sq_filter *, const struct sq_tensor *,
	    const struct sq_slot *);

#endif
