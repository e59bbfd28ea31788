/*
 * tokenizer.json and the keys of a GGUF file that say the same: byte pair
 * encoding over bytes ("gpt2" there, its regular expression by name), and
 * SentencePiece's ("llama" there: merges by the score of what they make).
 */
#ifndef SQ_MODEL_GGUF_TOK_H
#define SQ_MODEL_GGUF_TOK_H

#include "formats/fmt_gguf.h"
#include "formats/fmt_records.h"
#include "model/config.h"

/*
 * Writes the keys.  tok: tokenizer.json, or NULL: the file is one without a
 * tokenizer; conf: config.json.  pre: the name of the regular expression, or
 * NULL: the one that goes with tokenizer.json.
 */
int	 sq_gguf_put_tokenizer(struct sq_gguf_out *, const struct sq_config *,
	    const json_t *tok, const json_t *conf, const char *pre, char *err);

/* The tokenizer.json of such a file: new; NULL with the reason, or with an
 * empty one when the file has no tokenizer. */
json_t	*sq_gguf_tokenizer(const struct sq_gguf *, char *err);

#endif
