/*
 * YAML through libyaml, as a tree whose nodes know their lines, with what
 * untrusted input needs: one document, no key twice, no anchors, aliases or
 * tags, bounded depth and count.
 */
#ifndef SQ_FMT_YAML_H
#define SQ_FMT_YAML_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum sq_yaml_kind { SQ_YAML_SCALAR, SQ_YAML_LIST, SQ_YAML_MAP };

struct sq_yaml {
	enum sq_yaml_kind kind;
	size_t line;			/* from 1 */
	int plain;			/* scalar: not in quotes */
	char *text;			/* scalar: without zeros inside */
	/* list: items; map: key, value, key, value ...; keys are scalars */
	struct sq_yaml **item;
	size_t n;
};

/* The root, the caller's; NULL with the reason, "LINE: what". */
struct sq_yaml *sq_yaml_parse(const char *text, size_t len, char *err);
void	 sq_yaml_free(struct sq_yaml *);

/* The value of a key of a map, or NULL. */
const struct sq_yaml *sq_yaml_get(const struct sq_yaml *, const char *key);

/*
 * A scalar as a value: 0, or -1 when it is something else.  Numbers and truth
 * values are not in quotes.
 */
int	 sq_yaml_uint(const struct sq_yaml *, uint64_t *);
int	 sq_yaml_real(const struct sq_yaml *, double *);
int	 sq_yaml_bool(const struct sq_yaml *, int *);	/* true or false */

/*
 * The same text as a scalar that reads back as that string: plain where that is
 * safe, else in double quotes.  malloc'd; NULL when there is no memory.
 */
char	*sq_yaml_quote(const char *text);

#endif
