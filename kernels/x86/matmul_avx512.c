/* The matrix product in float32 with AVX-512; see matmul_vec.h. */
#define LEVEL(op)	sq_##op##_avx512
#include "kernels/x86/matmul_vec.h"
