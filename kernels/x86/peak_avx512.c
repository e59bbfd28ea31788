/* What AVX-512 can do at most in float32; see peak_vec.h. */
#define LEVEL	sq_peak_avx512
#include "kernels/x86/peak_vec.h"
