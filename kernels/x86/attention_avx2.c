/* Attention in float32, whatever the cache holds; see attention_vec.h. */
#define LEVEL(op)	sq_##op##_avx2
#include "kernels/x86/attention_vec.h"
