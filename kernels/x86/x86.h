/*
 * The x86-64 kernels.  A file's suffix names the level and gives the file its
 * compiler flags: _avx2 (AVX2, FMA, F16C), _avx512 (F, BW, DQ, VL),
 * _avx512vnni (those, VNNI and VBMI), _avx512bf16 (those and BF16), _amx
 * (those, AMX tile, bf16 and int8).
 */
#ifndef SQ_KERNELS_X86_H
#define SQ_KERNELS_X86_H

#include "kernels/kern.h"

#define OP(name, params, args, bound)					\
	int sq_##name##_avx2 params;					\
	int sq_##name##_avx512 params;					\
	int sq_##name##_avx512vnni params;				\
	int sq_##name##_avx512bf16 params;				\
	int sq_##name##_amx params;
#include "kernels/ops.def"
#undef OP

#endif
