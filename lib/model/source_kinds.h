/* The kinds of source.h: each fills in everything that is public there. */
#ifndef SQ_MODEL_SOURCE_KINDS_H
#define SQ_MODEL_SOURCE_KINDS_H

#include "model/source.h"

int	 sq_source_safetensors(struct sq_source *, const char *path, int is_dir,
	    char *err);
int	 sq_source_sqa(struct sq_source *, const char *path, char *err);
int	 sq_source_gguf(struct sq_source *, const char *path, char *err);
int	 sq_source_stream(struct sq_source *, const char *path, char *err);

#endif
