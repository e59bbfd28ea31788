/* Profiles: loading, looking up, and what cannot be; see profile.h. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "schema/presets.h"
#include "schema/profile_fields.h"

#define MAX_PROFILE	((size_t)1 << 20)

/* What a format leaves no choice about: 0 bits are free. */
static const struct {
	int grid, bits;
	uint64_t group;
} formats[SQ_WFORMATS] = {
	[SQ_WF_NONE] = { SQ_DENSE, 16, 0 },
	[SQ_WF_INT] = { SQ_INT4, 0, 128 },
	[SQ_WF_FP8_E4M3] = { SQ_FP8_E4M3, 8, 0 },
	[SQ_WF_FP8_E5M2] = { SQ_FP8_E5M2, 8, 0 },
	[SQ_WF_MXFP4] = { SQ_MXFP4, 4, 32 },
	[SQ_WF_Q4_0] = { SQ_INT4, 4, 32 },
	[SQ_WF_IQ4_NL] = { SQ_IQ4_NL, 4, 32 },
	[SQ_WF_Q4_K] = { SQ_Q4_K, 4, 32 },
	[SQ_WF_Q5_K] = { SQ_Q5_K, 5, 32 },
	[SQ_WF_Q6_K] = { SQ_Q6_K, 6, 16 },
	[SQ_WF_UINT4M] = { SQ_UINT4M, 4, 32 },
	[SQ_WF_UINT5M] = { SQ_UINT5M, 5, 32 },
	[SQ_WF_FP4] = { SQ_FP4, 4, 16 },
	[SQ_WF_IQ4_XS] = { SQ_IQ4_XS, 4, 32 },
};

int
sq_profile_free_group(int format)
{
	return format == SQ_WF_INT || format == SQ_WF_FP8_E4M3 ||
	    format == SQ_WF_FP8_E5M2 || format == SQ_WF_UINT4M ||
	    format == SQ_WF_UINT5M || format == SQ_WF_FP4;
}

const char *
sq_profile_preset(size_t i)
{
	return sq_presets[i].name;
}

void
sq_profile_init(struct sq_profile *p)
{
	memset(p, 0, sizeof(*p));
	p->weight_bits = p->activation_bits = 16;
	p->kv_bits_prefill = p->kv_bits_decode = 16;
	p->calibration_samples = 512;
	p->max_sequence_length = 8192;
	p->calibration_length = 2048;
	p->accuracy_limit = 0.05;
	p->activation.dynamic = p->activation.symmetric = 1;
	sq_profile_rule_format(&p->rule, SQ_WF_NONE);
}

void
sq_profile_release(struct sq_profile *p)
{
	size_t i;

	for (i = 0; i < p->noverrides; i++) {
		sq_pattern_free(p->override[i].pattern);
		free(p->override[i].match);
	}
	free(p->override);
	free(p->calibration_dataset);
	free(p->id);
	free(p->description);
	sq_yaml_free(p->tree);
	memset(p, 0, sizeof(*p));
}

void
sq_profile_rule_format(struct sq_profile_rule *r, int format)
{
	r->format = format;
	r->bits = formats[format].bits;
	if (r->bits == 0)
		r->bits = 4;
	r->group_rows = 1;
	r->group_cols = formats[format].group;
	r->symmetric = 1;
}

enum sq_grid
sq_profile_grid(const struct sq_profile_rule *r)
{
	if (r->format == SQ_WF_INT)
		return (enum sq_grid)sq_grid_of_bits(r->bits);
	return (enum sq_grid)formats[r->format].grid;
}

int
sq_profile_spec_bits(int bits)
{
	return bits == 0 || bits > 8 ? 16 : bits > 4 ? 8 : 4;
}

int
sq_profile_override(struct sq_profile *p, const char *match,
    const struct sq_profile_rule *rule, char *err)
{
	struct sq_profile_override *more, *o;

	more = realloc(p->override, (p->noverrides + 1) * sizeof(*more));
	if (more == NULL)
		return sq_fail(err, "out of memory");
	p->override = more;
	o = &more[p->noverrides];
	memset(o, 0, sizeof(*o));
	o->rule = *rule;
	if ((o->match = strdup(match)) == NULL)
		return sq_fail(err, "out of memory");
	p->noverrides++;
	o->pattern = sq_pattern_new(o->match, err);
	return o->pattern == NULL ? -1 : 0;
}

const struct sq_profile_rule *
sq_profile_find(const struct sq_profile *p, const char *name, int linear,
    const struct sq_profile_override **over)
{
	const struct sq_profile_rule *r = linear ? &p->rule : NULL;
	size_t i;

	if (over != NULL)
		*over = NULL;
	for (i = 0; i < p->noverrides; i++) {
		if (!sq_pattern_match(p->override[i].pattern, name))
			continue;
		if (over != NULL)
			*over = &p->override[i];
		r = &p->override[i].rule;
		break;
	}
	return r == NULL || r->format == SQ_WF_NONE ? NULL : r;
}

int
sq_profile_load(struct sq_profile *p, const char *name, char *err)
{
	const struct sq_preset *s;
	size_t len;
	char *text;
	int r;

	if (strchr(name, '/') == NULL) {
		for (s = sq_presets; s->name != NULL; s++)
			if (strcmp(s->name, name) == 0)
				return sq_profile_parse(p, s->name, s->text,
				    strlen(s->text), err);
		return sq_fail(err, "'%s': no such preset; a file has a slash "
		    "in its name", name);
	}
	if ((text = sq_read_file(AT_FDCWD, name, MAX_PROFILE, &len,
	    err)) == NULL)
		return -1;
	r = sq_profile_parse(p, name, text, len, err);
	free(text);
	return r;
}
