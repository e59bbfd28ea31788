/* Blocks of integers; see sparse_int_vec.h. */
#define LEVEL(op)	sq_##op##_avx512
#include "kernels/x86/sparse_int_vec.h"
