/* kv_append; see kv_append_vec.h. */
#define LEVEL(op)	sq_##op##_avx512
#include "kernels/x86/kv_append_vec.h"
