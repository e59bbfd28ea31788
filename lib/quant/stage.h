/*
 * What the tools around a struct sq_filter share: options, the start and the
 * end.  For bin/ only, as base/tool.h: it prints and exits, and is not part of
 * libsq.
 */
#ifndef SQ_QUANT_STAGE_H
#define SQ_QUANT_STAGE_H

#include "base/tool.h"
#include "quant/filter.h"

#define SQ_STAGE_SHORT	SQ_SHORT SQ_FILTER_SHORT
#define SQ_STAGE_LONG	SQ_LONG, SQ_FILTER_LONG

/* Options of the filter and of all tools; a usage error is the end. */
void	 sq_stage_option(struct sq_filter *, int c);

/* How tensors are quantized. */
#define SQ_RULES_SHORT	"b:g:"
#define SQ_RULES_LONG							\
	{ "asym", no_argument, NULL, SQ_RULES_ASYM },			\
	{ "bits", required_argument, NULL, 'b' },			\
	{ "group", required_argument, NULL, 'g' },			\
	{ "scale", required_argument, NULL, SQ_RULES_SCALE }

enum { SQ_RULES_ASYM = 1056, SQ_RULES_SCALE };

/* 1: it was one of these; 0: it was not.  weighted: --scale knows that too. */
int	 sq_rules_option(struct sq_rules *, int c, int weighted);

/* The same as options of a provenance record. */
void	 sq_rules_describe(const struct sq_rules *, json_t *options);

/* The kernels of -k and the threads of -j. */
void	 sq_stage_kernels(struct sq_ctx *ctx);

/*
 * Kernels, the input and the output, threads; ctx is NULL where nothing is
 * computed.  The filter gets a progress line, which sq_stage_run() ends.
 */
void	 sq_stage_open(struct sq_filter *, struct sq_ctx *ctx);

/* All records, and the end of the stream.  options are taken. */
void	 sq_stage_run(struct sq_filter *, const char *tool, json_t *options,
	    const struct sq_ctx *ctx);

#endif
