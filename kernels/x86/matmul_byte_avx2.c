/* The matrix product of bytes, AVX2; see matmul_int_vec.h. */
#define LEVEL(op)	sq_##op##_avx2
#define BYTES		1
#include "kernels/x86/matmul_int_vec.h"
