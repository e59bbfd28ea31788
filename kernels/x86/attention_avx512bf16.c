/* Attention from a bf16 cache, multiplied as bf16; see attention_vec.h. */
#define LEVEL(op)	sq_##op##_avx512bf16
#define DP
#include "kernels/x86/attention_vec.h"
