/* What AVX2 and FMA can do at most; see peak_vec.h. */
#define LEVEL	sq_peak_avx2
#include "kernels/x86/peak_vec.h"
