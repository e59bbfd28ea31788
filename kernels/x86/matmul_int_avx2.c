/* The matrix product of 16-bit integers, AVX2; see matmul_int_vec.h. */
#define LEVEL(op)	sq_##op##_avx2
#define BYTES		0
#include "kernels/x86/matmul_int_vec.h"
