/* What products of integers can do at most, AVX2; see peak_int_vec.h. */
#define LEVEL(kind)	sq_peak_##kind##_avx2
#include "kernels/x86/peak_int_vec.h"
