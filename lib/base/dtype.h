/* Types of tensor elements: the names are those of safetensors. */
#ifndef SQ_BASE_DTYPE_H
#define SQ_BASE_DTYPE_H

#include <stddef.h>
#include <stdint.h>

enum sq_dtype {
	SQ_F32, SQ_F16, SQ_BF16, SQ_F8_E4M3, SQ_F8_E5M2, SQ_F8_E8M0,
	SQ_I64, SQ_I32, SQ_I16, SQ_I8, SQ_U64, SQ_U32, SQ_U16, SQ_U8, SQ_BOOL,
	SQ_BITS,		/* packed codes or masks: no size of its own */
	SQ_DTYPES
};

const char *sq_dtype_name(enum sq_dtype);
size_t	 sq_dtype_size(enum sq_dtype);		/* bytes; 0 for SQ_BITS */
int	 sq_dtype_find(const char *name);	/* -1 when there is none */

/* 1 for F32, F16 and BF16: what weights are computed with. */
int	 sq_dtype_is_float(enum sq_dtype);

#endif
