/* Patterns for the names of tensors; see pattern.h. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <fnmatch.h>
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#include "schema/pattern.h"

#define PATTERN_MAX	1024	/* bytes */
#define STEPS		100000	/* backtracking of one match */

struct sq_pattern {
	const char *glob;
	pcre2_code *re;
	pcre2_match_data *match;
	pcre2_match_context *limits;
};

static int
compile(struct sq_pattern *p, const char *re, char *err)
{
	PCRE2_UCHAR why[160];
	PCRE2_SIZE at;
	int code;

	p->re = pcre2_compile((PCRE2_SPTR)re, PCRE2_ZERO_TERMINATED,
	    PCRE2_ANCHORED | PCRE2_ENDANCHORED | PCRE2_NEVER_BACKSLASH_C,
	    &code, &at, NULL);
	if (p->re == NULL) {
		pcre2_get_error_message(code, why, sizeof(why));
		return sq_fail(err, "'%s': at character %zu: %s", re, at + 1,
		    (char *)why);
	}
	p->match = pcre2_match_data_create(1, NULL);
	p->limits = pcre2_match_context_create(NULL);
	if (p->match == NULL || p->limits == NULL)
		return sq_fail(err, "out of memory");
	pcre2_set_match_limit(p->limits, STEPS);
	pcre2_set_depth_limit(p->limits, STEPS);
	return 0;
}

struct sq_pattern *
sq_pattern_new(const char *text, char *err)
{
	struct sq_pattern *p;

	if (text[0] == '\0' || strlen(text) > PATTERN_MAX) {
		sq_fail(err, "a pattern that is %s", text[0] == '\0' ?
		    "empty" : "too long");
		return NULL;
	}
	if ((p = calloc(1, sizeof(*p))) == NULL) {
		sq_fail(err, "out of memory");
		return NULL;
	}
	if (strncmp(text, "re:", 3) != 0) {
		p->glob = text;
	} else if (compile(p, text + 3, err) < 0) {
		sq_pattern_free(p);
		return NULL;
	}
	return p;
}

void
sq_pattern_free(struct sq_pattern *p)
{
	if (p == NULL)
		return;
	pcre2_match_data_free(p->match);
	pcre2_match_context_free(p->limits);
	pcre2_code_free(p->re);
	free(p);
}

int
sq_pattern_match(const struct sq_pattern *p, const char *name)
{
	if (p->glob != NULL)
		return fnmatch(p->glob, name, 0) == 0;
	return pcre2_match(p->re, (PCRE2_SPTR)name, strlen(name), 0, 0,
	    p->match, p->limits) >= 0;
}
