/* Mixes that no program can carry out; see profile.h. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "schema/profile_fields.h"

static int
bad(const struct sq_profile *p, char *err, const char *key, const char *fmt,
    ...) __attribute__((format(printf, 4, 5)));

static int
bad(const struct sq_profile *p, char *err, const char *key, const char *fmt,
    ...)
{
	char why[SQ_ERR];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	if (p->tree == NULL)
		return sq_fail(err, "%s", why);
	return sq_fail(err, "%s:%zu: %s", p->label, sq_profile_line(p, key),
	    why);
}

static int
is_fp8(int format)
{
	return format == SQ_WF_FP8_E4M3 || format == SQ_WF_FP8_E5M2;
}

static int
quantizes(const struct sq_profile *p)
{
	size_t i;

	if (p->rule.format != SQ_WF_NONE)
		return 1;
	for (i = 0; i < p->noverrides; i++)
		if (p->override[i].rule.format != SQ_WF_NONE)
			return 1;
	return 0;
}

static int
check_weights(const struct sq_profile *p, char *err)
{
	int bits = sq_profile_spec_bits(p->rule.bits);
	int rounds = 0, i;

	if (bits != (int)p->weight_bits)
		return bad(p, err, p->rule.format == SQ_WF_INT ? "bits" :
		    "format", "%s of %d bits need weight_bits %d, not %ju",
		    p->rule.format == SQ_WF_NONE ? "weights" :
		    sq_wformat_names[p->rule.format], p->rule.bits, bits,
		    (uintmax_t)p->weight_bits);
	for (i = 0; i < p->nalgorithms; i++)
		rounds += p->algorithm[i] == SQ_ALG_RTN ||
		    p->algorithm[i] == SQ_ALG_GPTQ;
	if (rounds > 1)
		return bad(p, err, "algorithm", "rtn and gptq: one of them "
		    "rounds the weights");
	if (rounds == 1 && !quantizes(p))
		return bad(p, err, "algorithm", "%s, but no weights are to be "
		    "quantized",
		    sq_algorithm_names[p->algorithm[p->nalgorithms - 1]]);
	if (rounds == 1 && p->algorithm[p->nalgorithms - 1] != SQ_ALG_RTN &&
	    p->algorithm[p->nalgorithms - 1] != SQ_ALG_GPTQ)
		return bad(p, err, "algorithm", "%s after the weights have "
		    "been rounded",
		    sq_algorithm_names[p->algorithm[p->nalgorithms - 1]]);
	return 0;
}

static int
check_activation(const struct sq_profile *p, char *err)
{
	const struct sq_profile_activation *a = &p->activation;
	int w = p->rule.format;

	if (p->activation_bits == 16) {
		if (a->format != SQ_WF_NONE)
			return bad(p, err, "activation", "a format of "
			    "activations, but activation_bits is 16");
		return 0;
	}
	if (a->format != SQ_WF_INT && a->format != SQ_WF_FP8_E4M3)
		return bad(p, err, "activation.format", "activations of %ju "
		    "bits are int or fp8_e4m3, not %s",
		    (uintmax_t)p->activation_bits,
		    sq_wformat_names[a->format]);
	if (w == SQ_WF_NONE)
		return bad(p, err, "activation_bits", "activations of %ju "
		    "bits need quantized weights",
		    (uintmax_t)p->activation_bits);
	if (a->format == SQ_WF_FP8_E4M3 && p->activation_bits != 8)
		return bad(p, err, "activation.format", "fp8_e4m3 has 8 bits, "
		    "but activation_bits is %ju",
		    (uintmax_t)p->activation_bits);
	if (is_fp8(w) && a->format != SQ_WF_FP8_E4M3)
		return bad(p, err, "activation.format", "weights in %s, but "
		    "activations in integers", sq_wformat_names[w]);
	if (w == SQ_WF_INT && p->rule.bits > 4 &&
	    a->format == SQ_WF_FP8_E4M3)
		return bad(p, err, "activation.format", "weights in integers "
		    "of %d bits, but activations in fp8_e4m3", p->rule.bits);
	if (!a->symmetric && a->format != SQ_WF_INT)
		return bad(p, err, "activation.symmetric", "fp8_e4m3 has no "
		    "zero points");
	if (!a->dynamic && a->granularity == SQ_PER_TOKEN)
		return bad(p, err, "activation", "a scale for each token "
		    "cannot be static");
	return 0;
}

static int
check_kv(const struct sq_profile *p, char *err)
{
	static const int bits[SQ_KV_FORMATS] = { 16, 16, 8, 8, 8, 4, 4 };
	const struct sq_profile_kv *kv = &p->kv;

	if (bits[kv->format] != (int)p->kv_bits_decode)
		return bad(p, err, "kv.format", "%s is not of %ju bits, as "
		    "kv_bits_decode says", sq_kv_format_names[kv->format],
		    (uintmax_t)p->kv_bits_decode);
	if (bits[kv->prefill_format] != (int)p->kv_bits_prefill)
		return bad(p, err, "kv.prefill_format", "%s is not of %ju "
		    "bits, as kv_bits_prefill says",
		    sq_kv_format_names[kv->prefill_format],
		    (uintmax_t)p->kv_bits_prefill);
	return 0;
}

static int
check_sparsity(const struct sq_profile *p, char *err)
{
	int pattern = p->sparsity_pattern;

	if (pattern == SQ_SPARSE_NONE && p->sparsity_ratio != 0)
		return bad(p, err, "sparsity_ratio", "%g, but "
		    "sparsity_pattern is none", p->sparsity_ratio);
	if ((pattern == SQ_SPARSE_2_4 || pattern == SQ_SPARSE_4_8) &&
	    p->sparsity_ratio != 0.5)
		return bad(p, err, "sparsity_ratio", "%g, but %s drops half",
		    p->sparsity_ratio, sq_sparsity_names[pattern]);
	return 0;
}

int
sq_profile_check(const struct sq_profile *p, char *err)
{
	if (check_weights(p, err) < 0 || check_activation(p, err) < 0 ||
	    check_kv(p, err) < 0)
		return -1;
	return check_sparsity(p, err);
}
