/* The keys of a profile, one table for reading, writing and asking. */
#ifndef SQ_SCHEMA_PROFILE_FIELDS_H
#define SQ_SCHEMA_PROFILE_FIELDS_H

#include "schema/profile.h"

enum sq_field_type {
	SQ_FIELD_END,
	SQ_FIELD_BITS,			/* uint64_t: 16, 8 or 4 */
	SQ_FIELD_UINT,			/* uint64_t */
	SQ_FIELD_REAL,			/* double */
	SQ_FIELD_BOOL,			/* int */
	SQ_FIELD_WORD,			/* int: which of words */
	SQ_FIELD_TEXT,			/* char * */
	SQ_FIELD_ALGORITHM,		/* a word of words, or a list of them */
	SQ_FIELD_RULE,			/* of struct sq_profile_rule, by name */
	SQ_FIELD_OVERRIDES,
	SQ_FIELD_MAP			/* sub */
};

struct sq_field {
	const char *name;
	enum sq_field_type type;
	size_t at;			/* in struct sq_profile */
	double lo, hi;			/* numbers */
	const char *const *words;
	const struct sq_field *sub;
	int required;
};

/* The ten of the specification; those below "extensions". */
extern const struct sq_field sq_spec_fields[], sq_extension_fields[];

/* The line of a key of the profile ("kv.format"), or of what it would stand in;
 * 0 for a profile that was not read. */
size_t	 sq_profile_line(const struct sq_profile *, const char *key);

/* The field of that key, and where it ends: NULL when there is none. */
const struct sq_field *sq_field_find(const struct sq_field *,
	    const char *key, size_t len);

static inline void *
sq_field_of(const struct sq_field *f, struct sq_profile *p)
{
	return (char *)p + f->at;
}

static inline const void *
sq_field_in(const struct sq_field *f, const struct sq_profile *p)
{
	return (const char *)p + f->at;
}

#endif
