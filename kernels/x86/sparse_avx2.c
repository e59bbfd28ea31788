/* Sparse products in float32; see sparse_vec.h. */
#define LEVEL(op)	sq_##op##_avx2
#include "kernels/x86/sparse_vec.h"
