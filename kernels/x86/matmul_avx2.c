/* The matrix product with AVX2 and FMA; see matmul_vec.h. */
#define LEVEL(op)	sq_##op##_avx2
#include "kernels/x86/matmul_vec.h"
