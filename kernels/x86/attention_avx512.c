/* Attention in float32, whatever the cache holds; see attention_vec.h. */
#define LEVEL(op)	sq_##op##_avx512
#include "kernels/x86/attention_vec.h"
