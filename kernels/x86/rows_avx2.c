/* The operations on rows of activations; see rows_vec.h. */
#define LEVEL(op)	sq_##op##_avx2
#include "kernels/x86/rows_vec.h"
#include "kernels/x86/rows_grad_vec.h"
