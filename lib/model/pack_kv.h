/*
 * Scales for a cache of keys and values in 8 bits, from the ranges that
 * calibration saw.
 */
#ifndef SQ_MODEL_PACK_KV_H
#define SQ_MODEL_PACK_KV_H

#include "formats/fmt_stats.h"
#include "model/pack_dir.h"

/* compressed-tensors, FP8: one scale for the keys and one for the values of a
 * layer, largest magnitude / 448. */
int	 sq_pack_kv_fp8(struct sq_packdir *, const struct sq_stats *, char *err);

/* AscendV1, int8 ("C8"): one for each channel, largest magnitude / 127, and
 * offsets of zero. */
int	 sq_pack_kv_int8(struct sq_packdir *, const struct sq_stats *,
	    char *err);

#endif
