/* Which x86-64 kernels this processor runs; see x86.h. */
#include <unistd.h>
#include <sys/syscall.h>

#include "kernels/x86/x86.h"

/* Linux gives the AMX tile registers to a process that asks for them. */
#define ARCH_REQ_XCOMP_PERM	0x1023
#define XFEATURE_XTILEDATA	18

/* CPUID leaf 7: GCC 12's __builtin_cpu_supports does not know AMX. */
static int
has_amx(void)
{
	unsigned a = 7, b, c = 0, d;

	__asm__("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	/* edx bits: 22 amx-bf16, 24 amx-tile, 25 amx-int8 */
	if ((d >> 22 & 1) == 0 || (d >> 24 & 1) == 0 || (d >> 25 & 1) == 0)
		return 0;
	return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM,
	    XFEATURE_XTILEDATA) == 0;
}

int
sq_init_avx2(struct sq_kern *k)
{
	/* no processor has AVX2 without F16C, which clang 14 cannot ask for */
	if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma"))
		return -1;
	k->quantize = sq_quantize_avx2;
	k->dequantize = sq_dequantize_avx2;
	k->embed = sq_embed_avx2;
	k->moments = sq_moments_avx2;
	k->pair = sq_pair_avx2;
	k->matmul = sq_matmul_avx2;
	k->sparse_matmul = sq_sparse_matmul_avx2;
	k->matmul_int8 = sq_matmul_int8_avx2;
	k->matmul_each = sq_matmul_each_avx2;
	k->matmul_int8_each = sq_matmul_int8_each_avx2;
	k->quantize_act = sq_quantize_act_avx2;
	k->dequantize_act = sq_dequantize_act_avx2;
	k->rmsnorm = sq_rmsnorm_avx2;
	k->add_bias = sq_add_bias_avx2;
	k->add = sq_add_avx2;
	k->silu_mul = sq_silu_mul_avx2;
	k->rope = sq_rope_avx2;
	k->hadamard = sq_hadamard_avx2;
	k->kv_append = sq_kv_append_avx2;
	k->kv_read = sq_kv_read_avx2;
	k->attention = sq_attention_avx2;
	k->sparse_attention = sq_sparse_attention_avx2;
	k->nll = sq_nll_avx2;
	k->kl = sq_kl_avx2;
	k->kl_backward = sq_kl_backward_avx2;
	k->product = sq_product_avx2;
	k->panels = sq_panels_avx2;
	k->sum_rows = sq_sum_rows_avx2;
	k->rmsnorm_backward = sq_rmsnorm_backward_avx2;
	k->silu_mul_backward = sq_silu_mul_backward_avx2;
	k->softmax_add = sq_softmax_add_avx2;
	k->attention_backward = sq_attention_backward_avx2;
	return 0;
}

int
sq_init_avx512(struct sq_kern *k)
{
	if (!__builtin_cpu_supports("avx512f") ||
	    !__builtin_cpu_supports("avx512bw") ||
	    !__builtin_cpu_supports("avx512dq") ||
	    !__builtin_cpu_supports("avx512vl"))
		return -1;
	k->quantize = sq_quantize_avx512;
	k->dequantize = sq_dequantize_avx512;
	k->embed = sq_embed_avx512;
	k->moments = sq_moments_avx512;
	k->pair = sq_pair_avx512;
	k->matmul = sq_matmul_avx512;
	k->sparse_matmul = sq_sparse_matmul_avx512;
	k->matmul_int8 = sq_matmul_int8_avx512;
	k->matmul_each = sq_matmul_each_avx512;
	k->matmul_int8_each = sq_matmul_int8_each_avx512;
	k->quantize_act = sq_quantize_act_avx512;
	k->dequantize_act = sq_dequantize_act_avx512;
	k->rmsnorm = sq_rmsnorm_avx512;
	k->add_bias = sq_add_bias_avx512;
	k->add = sq_add_avx512;
	k->silu_mul = sq_silu_mul_avx512;
	k->rope = sq_rope_avx512;
	k->hadamard = sq_hadamard_avx512;
	k->kv_append = sq_kv_append_avx512;
	k->kv_read = sq_kv_read_avx512;
	k->attention = sq_attention_avx512;
	k->sparse_attention = sq_sparse_attention_avx512;
	k->nll = sq_nll_avx512;
	k->kl = sq_kl_avx512;
	k->kl_backward = sq_kl_backward_avx512;
	k->product = sq_product_avx512;
	k->panels = sq_panels_avx512;
	k->sum_rows = sq_sum_rows_avx512;
	k->rmsnorm_backward = sq_rmsnorm_backward_avx512;
	k->silu_mul_backward = sq_silu_mul_backward_avx512;
	k->softmax_add = sq_softmax_add_avx512;
	k->attention_backward = sq_attention_backward_avx512;
	return 0;
}

int
sq_init_avx512vnni(struct sq_kern *k)
{
	if (!__builtin_cpu_supports("avx512vnni") ||
	    !__builtin_cpu_supports("avx512vbmi"))
		return -1;
	k->matmul = sq_matmul_avx512vnni;
	k->matmul_int8 = sq_matmul_int8_avx512vnni;
	k->matmul_each = sq_matmul_each_avx512vnni;
	k->matmul_int8_each = sq_matmul_int8_each_avx512vnni;
	return 0;
}

int
sq_init_avx512bf16(struct sq_kern *k)
{
	if (!__builtin_cpu_supports("avx512bf16") ||
	    !__builtin_cpu_supports("avx512vnni") ||
	    !__builtin_cpu_supports("avx512vbmi"))
		return -1;
	k->matmul = sq_matmul_avx512bf16;
	k->sparse_matmul = sq_sparse_matmul_avx512bf16;
	k->product = sq_product_avx512bf16;
	k->attention = sq_attention_avx512bf16;
	k->sparse_attention = sq_sparse_attention_avx512bf16;
	k->attention_backward = sq_attention_backward_avx512bf16;
	return 0;
}

/*
 * vdpbf16ps has twice the rate of float32 on AMD's processors since Zen 4, but
 * half of it on Intel's that have no AMX in use (measured): bf16 is for AMX
 * there.
 */
int
sq_pays_avx512bf16(void)
{
	return __builtin_cpu_is("amd");
}

int
sq_init_amx(struct sq_kern *k)
{
	if (!has_amx() || !__builtin_cpu_supports("avx512bf16") ||
	    !__builtin_cpu_supports("avx512vnni") ||
	    !__builtin_cpu_supports("avx512vbmi"))
		return -1;
	k->matmul = sq_matmul_amx;
	k->sparse_matmul = sq_sparse_matmul_amx;
	k->matmul_int8 = sq_matmul_int8_amx;
	k->matmul_each = sq_matmul_each_amx;
	k->matmul_int8_each = sq_matmul_int8_each_amx;
	k->product = sq_product_amx;
	k->attention = sq_attention_amx;
	k->sparse_attention = sq_sparse_attention_amx;
	k->attention_backward = sq_attention_backward_amx;
	return 0;
}
