/* Names and widths of the grids; see grid.h. */
#include <string.h>

#include "base/grid.h"

static const struct {
	const char *name;
	int bits;
} grids[SQ_GRIDS] = {
	[SQ_DENSE] = { "dense", 0 },
	[SQ_INT2] = { "int2", 2 },	[SQ_INT3] = { "int3", 3 },
	[SQ_INT4] = { "int4", 4 },	[SQ_INT5] = { "int5", 5 },
	[SQ_INT6] = { "int6", 6 },	[SQ_INT8] = { "int8", 8 },
	[SQ_UINT4M] = { "uint4m", 4 },	[SQ_UINT5M] = { "uint5m", 5 },
	[SQ_FP8_E4M3] = { "fp8_e4m3", 8 }, [SQ_FP8_E5M2] = { "fp8_e5m2", 8 },
	[SQ_FP4] = { "fp4", 4 },	[SQ_MXFP4] = { "mxfp4", 4 },
	[SQ_IQ4_NL] = { "iq4_nl", 4 },	[SQ_Q4_K] = { "q4_k", 4 },
	[SQ_Q5_K] = { "q5_k", 5 },	[SQ_Q6_K] = { "q6_k", 6 },
	[SQ_IQ4_XS] = { "iq4_xs", 4 },
};

const int8_t sq_iq4_table[16] = {
	-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113
};

const int8_t sq_fp4_table[16] = {
	0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12
};

const char *
sq_grid_name(enum sq_grid g)
{
	return grids[g].name;
}

int
sq_grid_bits(enum sq_grid g)
{
	return grids[g].bits;
}

int
sq_grid_find(const char *name)
{
	int i;

	for (i = 0; i < SQ_GRIDS; i++)
		if (strcmp(grids[i].name, name) == 0)
			return i;
	return -1;
}

int
sq_grid_is_int(enum sq_grid g)
{
	return g >= SQ_INT2 && g <= SQ_INT8;
}

int
sq_grid_of_bits(int bits)
{
	int i;

	for (i = SQ_INT2; i <= SQ_INT8; i++)
		if (grids[i].bits == bits)
			return i;
	return -1;
}
