/* The matrix product of 16-bit integers, AVX-512 VNNI; see matmul_int_vec.h. */
#define LEVEL(op)	sq_##op##_avx512vnni
#define BYTES		0
#include "kernels/x86/matmul_int_vec.h"
