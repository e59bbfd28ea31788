/*
 * JSON through jansson, with what untrusted input needs: no key twice, valid
 * UTF-8, bounded depth (jansson's 2048), and typed look-ups that say which key
 * was wrong.
 */
#ifndef SQ_FMT_JSON_H
#define SQ_FMT_JSON_H

#include <jansson.h>
#include <stdint.h>

#include "base/err.h"

/* A new reference to the object in the text, or NULL with the reason. */
json_t	*sq_json_object(const char *text, size_t len, char *err);

/*
 * The value of a key of an object: 0, or -1 with the reason when it is missing
 * or of another type.  Strings are borrowed.
 */
int	 sq_json_string(const json_t *, const char *key, const char **value,
	    char *err);
int	 sq_json_uint(const json_t *, const char *key, uint64_t *value,
	    char *err);

/* The same, but a missing or null key leaves *value as it is. */
int	 sq_json_opt_uint(const json_t *, const char *key, uint64_t *value,
	    char *err);
int	 sq_json_opt_real(const json_t *, const char *key, double *value,
	    char *err);
int	 sq_json_opt_bool(const json_t *, const char *key, int *value,
	    char *err);

/* Compact text with the keys in the order in which they were set: malloc'd. */
char	*sq_json_text(const json_t *);

/* Indented, for files that people read; ends with a newline: malloc'd. */
char	*sq_json_pretty(const json_t *);

#endif
