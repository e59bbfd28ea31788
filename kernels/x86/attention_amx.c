/* Attention from a bf16 cache on AMX tiles; see attention_tile.h. */
#define LEVEL(op)	sq_##op##_amx
#define DP
#define AMX
#include "kernels/x86/attention_vec.h"
