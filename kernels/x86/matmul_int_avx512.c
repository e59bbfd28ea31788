/* The matrix product of integers, AVX-512; see matmul_int_vec.h. */
#define LEVEL(op)	sq_##op##_avx512
#include "kernels/x86/matmul_int_vec.h"
