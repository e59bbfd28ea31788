/* One reference for each operation: without it the table does not link. */
#ifndef SQ_KERNELS_REF_H
#define SQ_KERNELS_REF_H

#include "kernels/kern.h"

#define OP(name, params, args, bound)	int sq_##name##_ref params;
#include "kernels/ops.def"
#undef OP

#endif
