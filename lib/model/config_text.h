/*
 * config.json with a key more or a key less: the rest of the text, its numbers
 * and its order stay as they are.
 */
#ifndef SQ_MODEL_CONFIG_TEXT_H
#define SQ_MODEL_CONFIG_TEXT_H

#include <jansson.h>
#include <stddef.h>

/* Both take the text of a JSON object and give another, malloc'd, of *n bytes
 * with a zero after them; NULL when there is no memory. */

/* With the key at the end, whether it was there or not; value is taken. */
char	*sq_config_text_set(const char *text, size_t len, const char *key,
	    json_t *value, size_t *n);
char	*sq_config_text_without(const char *text, size_t len, const char *key,
	    size_t *n);

#endif
