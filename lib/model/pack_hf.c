/*
 * A stream becomes a Hugging Face directory of dense safetensors: quantized
 * tensors are dequantized to the type that they came from.  See pack.h.
 */
#include "model/pack_dir.h"

static int
finish(struct sq_packdir *k, char *err)
{
	return sq_dir_config(k, NULL, err);
}

int
sq_pack_hf(struct sq_pack *p, struct sq_in *in, int dirfd, char *err)
{
	static const struct sq_dir_kind hf = { .stem = "model", .tensors = 1,
	    .finish = finish };

	return sq_pack_dir(p, &hf, in, dirfd, err);
}
