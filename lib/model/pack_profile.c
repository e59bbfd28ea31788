/* The profile that goes with an artifact; see pack.h. */
#include <stdlib.h>
#include <string.h>

#include "model/pack.h"

static void
tell_algorithm(struct sq_profile *p, int algorithm)
{
	int i, n = 0, rounds = algorithm == SQ_ALG_RTN ||
	    algorithm == SQ_ALG_GPTQ;

	for (i = 0; i < p->nalgorithms; i++)	/* the last one that rounds */
		if (p->algorithm[i] != algorithm && !(rounds &&
		    (p->algorithm[i] == SQ_ALG_RTN ||
		    p->algorithm[i] == SQ_ALG_GPTQ)))
			p->algorithm[n++] = p->algorithm[i];
	p->algorithm[n++] = algorithm;
	p->nalgorithms = n;
}

/* What the stream has been through. */
static void
tell_history(struct sq_profile *p, const json_t *provenance)
{
	const json_t *record, *samples;
	const char *tool;
	size_t i;
	int a;

	p->calibration_samples = 0;
	p->nalgorithms = 0;
	json_array_foreach(provenance, i, record) {
		tool = json_string_value(json_object_get(record, "tool"));
		samples = json_object_get(json_object_get(record, "options"),
		    "samples");
		if (tool == NULL || strncmp(tool, "sq-", 3) != 0)
			continue;
		if (strcmp(tool, "sq-calibrate") == 0 &&
		    json_integer_value(samples) > 0)
			p->calibration_samples =
			    (uint64_t)json_integer_value(samples);
		for (a = 0; a < SQ_ALGS; a++)
			if (strcmp(tool + 3, sq_algorithm_names[a]) == 0)
				tell_algorithm(p, a);
	}
}

/* The profile that the last tool with one had, if it still holds. */
static int
inherit_profile(struct sq_profile *p, const struct sq_profile_made *made,
    const json_t *provenance)
{
	const char *text = NULL, *t;
	const json_t *record;
	char why[SQ_ERR];
	size_t i;

	json_array_foreach(provenance, i, record) {
		t = json_string_value(json_object_get(json_object_get(record,
		    "options"), "profile"));
		text = t == NULL ? text : t;
	}
	if (text == NULL || sq_profile_parse(p, "provenance", text, strlen(text),
	    why) < 0)
		return 0;
	if (sq_profile_made_by(made, p))
		return 1;
	sq_profile_release(p);
	return 0;
}

/* Masks are what they are; a profile that was asked for must say the same. */
static int
tell_sparsity(const struct sq_pack *k, struct sq_profile *p,
    const struct sq_mask_seen *masks, char *err)
{
	int is = sq_mask_pattern(masks), want = p->sparsity_pattern;

	/* 2:4 is 4:8 as well, and blocks are not looked for. */
	if (k->profile != NULL && want != SQ_SPARSE_NONE && is != want &&
	    !(want == SQ_SPARSE_4_8 && is == SQ_SPARSE_2_4) &&
	    !(is != SQ_SPARSE_NONE && want >= SQ_SPARSE_BLOCK))
		return sq_fail(err, "the masks are %s, not %s as the profile "
		    "says", sq_sparsity_names[is], sq_sparsity_names[want]);
	if (k->profile == NULL || want == SQ_SPARSE_NONE)
		p->sparsity_pattern = is;
	if (p->sparsity_pattern == is || is != SQ_SPARSE_NONE)
		p->sparsity_ratio = sq_mask_ratio(masks);
	return 0;
}

int
sq_pack_profile(const struct sq_pack *k, struct sq_profile *p,
    const struct sq_profile_made *made, const struct sq_mask_seen *masks,
    const json_t *provenance, uint64_t context, char *err)
{
	char *text;
	int r;

	if (k->profile != NULL) {
		if ((text = sq_profile_text(k->profile)) == NULL)
			return sq_fail(err, "out of memory");
		r = sq_profile_parse(p, "profile", text, strlen(text), err);
		free(text);
		if (r < 0)
			return -1;
	} else if (!inherit_profile(p, made, provenance)) {
		if (sq_profile_made(made, p, err) < 0)
			return -1;
		p->kernel_backend = SQ_BACKEND_CPU;
		p->max_sequence_length = context;
	}
	if (p->max_sequence_length > context)
		p->max_sequence_length = context;
	tell_history(p, provenance);
	return tell_sparsity(k, p, masks, err);
}
