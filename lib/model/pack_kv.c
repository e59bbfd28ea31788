/* Scales for the cache of keys and values; see pack_kv.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/pack_kv.h"

/* The largest magnitude of one channel; 0 for what holds no number. */
static float
magnitude(const float *min, const float *max, size_t i)
{
	float a = fabsf(min[i]), b = fabsf(max[i]), m = a > b ? a : b;

	return isfinite(m) ? m : 0;
}

/* "model.layers.3.self_attn" of the k weight's name: 0, or -1. */
static int
attention_of(const struct sq_stats *s, char name[SQ_NAME], char *err)
{
	static const char tail[] = ".k_proj.weight";
	size_t i, n;

	for (i = 0; i < s->ntensors; i++) {
		n = strlen(s->tensor[i]);
		if (n <= strlen(tail) ||
		    strcmp(s->tensor[i] + n - strlen(tail), tail) != 0)
			continue;
		memcpy(name, s->tensor[i], n - strlen(tail));
		name[n - strlen(tail)] = '\0';
		return 0;
	}
	return sq_fail(err, "ranges of keys and values of no layer");
}

static int
put_fp8(struct sq_packdir *k, const char *attention, const char *which,
    const float *min, const float *max, uint64_t n, char *err)
{
	char name[SQ_NAME + 16];
	float m = 0;
	uint64_t i;

	for (i = 0; i < n; i++)
		m = fmaxf(m, magnitude(min, max, i));
	m = m == 0 ? 1 : m / 448;
	snprintf(name, sizeof(name), "%s.%s_scale", attention, which);
	return sq_dir_extra(k, name, SQ_F32, 1, &m, err);
}

int
sq_pack_kv_fp8(struct sq_packdir *k, const struct sq_stats *s, char *err)
{
	uint64_t n = s->heads * s->dim;
	char name[SQ_NAME];

	if (attention_of(s, name, err) < 0 ||
	    put_fp8(k, name, "k", s->kmin, s->kmax, n, err) < 0)
		return -1;
	return put_fp8(k, name, "v", s->vmin, s->vmax, n, err);
}

static int
put_int8(struct sq_packdir *k, const char *attention, const char *which,
    const float *min, const float *max, uint64_t n, char *err)
{
	float *v = calloc((size_t)n, sizeof(*v));
	char name[SQ_NAME + 32];
	uint64_t i;
	int r;

	if (v == NULL)
		return sq_fail(err, "out of memory");
	snprintf(name, sizeof(name), "%s.%s_proj.kv_cache_offset", attention,
	    which);
	r = sq_dir_extra(k, name, SQ_F32, n, v, err);
	for (i = 0; i < n; i++) {
		v[i] = magnitude(min, max, i) / 127;
		v[i] = v[i] == 0 ? 1 : v[i];
	}
	snprintf(name, sizeof(name), "%s.%s_proj.kv_cache_scale", attention,
	    which);
	if (r == 0)
		r = sq_dir_extra(k, name, SQ_F32, n, v, err);
	free(v);
	return r;
}

int
sq_pack_kv_int8(struct sq_packdir *k, const struct sq_stats *s, char *err)
{
	uint64_t n = s->heads * s->dim;
	char name[SQ_NAME];

	if (attention_of(s, name, err) < 0 ||
	    put_int8(k, name, "k", s->kmin, s->kmax, n, err) < 0)
		return -1;
	return put_int8(k, name, "v", s->vmin, s->vmax, n, err);
}
