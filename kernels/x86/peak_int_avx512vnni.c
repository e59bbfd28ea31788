/* What products of integers can do at most, AVX-512 VNNI; see peak_int_vec.h. */
#define LEVEL(kind)	sq_peak_##kind##_avx512vnni
#include "kernels/x86/peak_int_vec.h"
