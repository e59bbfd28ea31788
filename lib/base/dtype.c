/* Types of tensor elements; see dtype.h. */
#include <string.h>

#include "base/dtype.h"

static const struct {
	const char *name;
	size_t size;
} types[SQ_DTYPES] = {
	[SQ_F32] = { "F32", 4 },	[SQ_F16] = { "F16", 2 },
	[SQ_BF16] = { "BF16", 2 },	[SQ_F8_E4M3] = { "F8_E4M3", 1 },
	[SQ_F8_E5M2] = { "F8_E5M2", 1 }, [SQ_F8_E8M0] = { "F8_E8M0", 1 },
	[SQ_I64] = { "I64", 8 },	[SQ_I32] = { "I32", 4 },
	[SQ_I16] = { "I16", 2 },	[SQ_I8] = { "I8", 1 },
	[SQ_U64] = { "U64", 8 },	[SQ_U32] = { "U32", 4 },
	[SQ_U16] = { "U16", 2 },	[SQ_U8] = { "U8", 1 },
	[SQ_BOOL] = { "BOOL", 1 },	[SQ_BITS] = { "BITS", 0 },
};

const char *
sq_dtype_name(enum sq_dtype t)
{
	return types[t].name;
}

size_t
sq_dtype_size(enum sq_dtype t)
{
	return types[t].size;
}

int
sq_dtype_find(const char *name)
{
	int i;

	for (i = 0; i < SQ_DTYPES; i++)
		if (strcmp(types[i].name, name) == 0)
			return i;
	return -1;
}

int
sq_dtype_is_float(enum sq_dtype t)
{
	return t == SQ_F32 || t == SQ_F16 || t == SQ_BF16;
}
