/*
 * Patterns for the names of tensors: a glob (fnmatch(3)), or with "re:" before
 * it a Perl-compatible regular expression.  Either must match the whole name.
 */
#ifndef SQ_SCHEMA_PATTERN_H
#define SQ_SCHEMA_PATTERN_H

#include "base/err.h"

struct sq_pattern;

/* NULL with the reason.  The text must live as long as the pattern. */
struct sq_pattern *sq_pattern_new(const char *text, char *err);
void	 sq_pattern_free(struct sq_pattern *);

/* 1 when it matches. */
int	 sq_pattern_match(const struct sq_pattern *, const char *name);

#endif
