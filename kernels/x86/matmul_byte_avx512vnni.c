/* The matrix product of bytes, AVX-512 VNNI; see matmul_int_vec.h. */
#define LEVEL(op)	sq_##op##_avx512vnni
#define BYTES		1
#include "kernels/x86/matmul_int_vec.h"
