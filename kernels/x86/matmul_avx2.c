/* The matrix product with AVX2 and FMA; see matmul_vec.h, of few tokens few.h. */
#include "kernels/x86/few.h"

#define LEVEL(op)	sq_##op##_avx2
#define FEW		sq_few_avx2
#include "kernels/x86/matmul_vec.h"
