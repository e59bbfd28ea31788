/* What sq-smooth and sq-awq share on the command line; for bin/ only, as
 * stage.h. */
#ifndef SQ_QUANT_SMOOTH_STAGE_H
#define SQ_QUANT_SMOOTH_STAGE_H

#include "quant/smooth.h"
#include "quant/stage.h"

#define SQ_SMOOTH_LONG							\
	SQ_STAGE_LONG,							\
	SQ_RULES_LONG,							\
	{ "rows", required_argument, NULL, SQ_SMOOTH_ROWS },		\
	{ "type", required_argument, NULL, SQ_SMOOTH_TYPE }

enum { SQ_SMOOTH_ROWS = 1088, SQ_SMOOTH_TYPE };

/* Options of both, of a filter and of all tools; a usage error is the end. */
void	 sq_smooth_option(struct sq_smooth *, int c);

/* Options are set: does the work.  options: the tool's own, taken. */
void	 sq_smooth_stage(struct sq_smooth *, const char *tool,
	    json_t *options);

#endif
