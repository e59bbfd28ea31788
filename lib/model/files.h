/* What a model's small files say besides config.json. */
#ifndef SQ_MODEL_FILES_H
#define SQ_MODEL_FILES_H

#include "formats/fmt_records.h"
#include "model/config.h"
#include "model/tokenizer.h"

/* The tokenizer of tokenizer.json: the caller's; NULL with the reason. */
struct sq_tokenizer *sq_files_tokenizer(const struct sq_files *, char *err);

#define SQ_MAX_EOS	16

/* The ids that end an answer, of generation_config.json and the configuration:
 * how many. */
size_t	 sq_files_eos(const struct sq_files *, const struct sq_config *,
	    uint32_t eos[SQ_MAX_EOS]);

#endif
