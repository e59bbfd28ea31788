/*
 * config.json and the keys of a GGUF file that say the same.
 */
#ifndef SQ_MODEL_GGUF_CONFIG_H
#define SQ_MODEL_GGUF_CONFIG_H

#include <jansson.h>

#include "formats/fmt_gguf.h"
#include "model/config.h"

/* Writes the keys of a model whose config.json is conf: 0, or -1 when there is
 * no architecture there for it. */
int	 sq_gguf_put_config(struct sq_gguf_out *, const struct sq_config *,
	    const json_t *conf, char *err);

/* The config.json of a model in such a file: new, or NULL with the reason. */
json_t	*sq_gguf_config(const struct sq_gguf *, char *err);

/*
 * The divisors of the frequencies, dim/2 of them, that such a file has as a
 * tensor when rope scaling is of the kind llama3.
 */
void	 sq_gguf_divisors(const struct sq_config *, float *div);

#endif
