/* The one scale of all tokens for a layer's input, from its statistics. */
#ifndef SQ_QUANT_ACT_SCALE_H
#define SQ_QUANT_ACT_SCALE_H

#include "formats/fmt_stats.h"

/*
 * fp8: the greatest magnitude / 448.  int8: that / 127; or, where the histogram
 * is there, of that times 1, .99, .98 ... .5 the one with the least expected
 * squared error, values taken as uniform within their bin.  0 when the range of
 * the channels is not known.
 */
float	 sq_act_static_scale(const struct sq_stats *, enum sq_act_kind);

#endif
