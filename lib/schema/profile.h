/*
 * QuantizationProfile (sq-profile(5)): the bits and formats of weights,
 * activations and the KV cache, and which tensors are an exception.
 */
#ifndef SQ_SCHEMA_PROFILE_H
#define SQ_SCHEMA_PROFILE_H

#include <stdint.h>

#include "base/err.h"
#include "base/grid.h"
#include "formats/fmt_yaml.h"
#include "schema/pattern.h"

/* What numbers are stored as. */
enum sq_wformat {
	SQ_WF_NONE,			/* 16 bits, as they come */
	SQ_WF_INT, SQ_WF_FP8_E4M3, SQ_WF_FP8_E5M2, SQ_WF_MXFP4, SQ_WF_Q4_0,
	SQ_WF_IQ4_NL, SQ_WF_Q4_K, SQ_WF_Q5_K, SQ_WF_Q6_K, SQ_WF_UINT4M,
	SQ_WF_UINT5M, SQ_WF_FP4, SQ_WF_IQ4_XS,
	SQ_WFORMATS
};

enum sq_sparsity { SQ_SPARSE_NONE, SQ_SPARSE_2_4, SQ_SPARSE_4_8,
	SQ_SPARSE_BLOCK, SQ_SPARSE_UNSTRUCTURED };
enum sq_algorithm { SQ_ALG_RTN, SQ_ALG_GPTQ, SQ_ALG_AWQ, SQ_ALG_SMOOTH,
	SQ_ALG_ROTATE, SQ_ALGS };
enum sq_scale_choice { SQ_SCALE_TOOL, SQ_SCALE_ABSMAX, SQ_SCALE_MSE,
	SQ_SCALE_WEIGHTED };
enum sq_backend { SQ_BACKEND_CUDA, SQ_BACKEND_ASCEND, SQ_BACKEND_CAMBRICON,
	SQ_BACKEND_HYGON, SQ_BACKEND_KUNLUNXIN, SQ_BACKEND_CPU };
enum sq_granularity { SQ_PER_TOKEN, SQ_PER_TENSOR };

/* What becomes of the weights of a tensor. */
struct sq_profile_rule {
	int format;			/* enum sq_wformat */
	int bits;			/* of a code; SQ_WF_NONE: 16 */
	uint64_t group_rows, group_cols;	/* 0: all there are */
	int symmetric;
	int scale;			/* enum sq_scale_choice */
};

struct sq_profile_override {
	char *match;			/* glob, or re:REGEX */
	struct sq_pattern *pattern;
	struct sq_profile_rule rule;
	size_t line;			/* of the profile, or 0 */
};

struct sq_profile_activation {
	int format;			/* enum sq_wformat */
	int granularity, dynamic, symmetric;
};

struct sq_profile_kv {
	int format, prefill_format;	/* sq_profile_kv_format */
	uint64_t sink, window;		/* tokens kept in 16 bits */
	int hadamard;
};

enum sq_profile_kv_format { SQ_KV_FP16, SQ_KV_BF16, SQ_KV_FP8_E4M3,
	SQ_KV_FP8_E5M2, SQ_KV_INT8, SQ_KV_INT4, SQ_KV_INT2, SQ_KV_FORMATS };

struct sq_profile {
	/* the ten fields of the specification, by its names */
	uint64_t weight_bits, activation_bits;
	uint64_t kv_bits_prefill, kv_bits_decode;
	double sparsity_ratio;
	int sparsity_pattern;		/* enum sq_sparsity */
	int kernel_backend;		/* enum sq_backend */
	char *calibration_dataset;
	uint64_t calibration_samples, max_sequence_length;
	/* extensions */
	char *id, *description;
	int algorithm[SQ_ALGS], nalgorithms;	/* in the order of a pipeline */
	int sequential;			/* gptq through the quantized prefix */
	struct sq_profile_rule rule;	/* of linear layers */
	struct sq_profile_activation activation;
	struct sq_profile_kv kv;
	uint64_t attention_chunk;	/* tokens of a prefill step; 0: any */
	uint64_t calibration_length;	/* tokens of a sample */
	double accuracy_limit;		/* of perplexity, relative */
	struct sq_profile_override *override;
	size_t noverrides;
	/* private */
	struct sq_yaml *tree;		/* for the line numbers in messages */
	const char *label;
};

/* Names of the enumerations, NULL at the end. */
extern const char *const sq_wformat_names[], *const sq_sparsity_names[],
    *const sq_profile_backends[], *const sq_algorithm_names[],
    *const sq_scale_names[], *const sq_granularity_names[],
    *const sq_kv_format_names[];

/*
 * name: with a slash a file, without one a preset that is compiled in.  0, or
 * -1 with the reason, of the form FILE:LINE: WHAT where it is one of contents.
 */
int	 sq_profile_load(struct sq_profile *, const char *name, char *err);

/* The same from a text; label stands for the file in messages, and must live
 * as long as the profile. */
int	 sq_profile_parse(struct sq_profile *, const char *label,
	    const char *text, size_t len, char *err);

/* The defaults of the fields that have one, and 16 bits everywhere. */
void	 sq_profile_init(struct sq_profile *);
void	 sq_profile_release(struct sq_profile *);

/* Mixes that cannot be: 0, or -1 with the reason.  sq_profile_parse() calls
 * it; whoever changes a profile calls it again. */
int	 sq_profile_check(const struct sq_profile *, char *err);

/* Takes over bits, group and the like of the format, where they are not free:
 * after rule->format has been set. */
void	 sq_profile_rule_format(struct sq_profile_rule *, int format);

/* 1 when the format leaves the groups' size open. */
int	 sq_profile_free_group(int format);

/*
 * The rule for the matrix of that name: of the first override that matches,
 * else, if it is the weight of a block's linear layer, the profile's; NULL when
 * it stays as it is.  *over (or NULL) is that override, or NULL.
 */
const struct sq_profile_rule *sq_profile_find(const struct sq_profile *,
	    const char *name, int linear,
	    const struct sq_profile_override **over);

/* The grid of a rule. */
enum sq_grid sq_profile_grid(const struct sq_profile_rule *);

/* One override more, the last: match is copied.  0, or -1 with the reason. */
int	 sq_profile_override(struct sq_profile *, const char *match,
	    const struct sq_profile_rule *, char *err);

/* The least of 4, 8 and 16 that holds so many bits; 0 bits are 16. */
int	 sq_profile_spec_bits(int bits);

/* A profile as YAML that reads back as itself: malloc'd, NULL without memory.
 * Of one key ("weight_bits", "kv.format") in sq_profile_value(): NULL when
 * there is no such key. */
char	*sq_profile_text(const struct sq_profile *);
char	*sq_profile_value(const struct sq_profile *, const char *key);

/* The value of the rule's key (format, bits, group_size, symmetric, scale) as
 * text in buf; 0 when the rule's format leaves no choice. */
int	 sq_profile_rule_text(const struct sq_profile_rule *, const char *key,
	    char buf[32]);

/* How the cache is kept while decoding, or while a prompt is read, as a policy
 * of sq-kv(5): malloc'd; NULL when it is in 16 bits, or without memory. */
char	*sq_profile_kv_spec(const struct sq_profile *, int prefill);

/* The presets: i from 0; NULL when there is none. */
const char *sq_profile_preset(size_t i);

#endif
