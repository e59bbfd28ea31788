/* Blocks of integers, by VNNI; see sparse_int_vec.h. */
#define LEVEL(op)	sq_##op##_avx512bf16
#include "kernels/x86/sparse_int_vec.h"
