/* Options of generating tools; see genopt.h. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/genopt.h"
#include "formats/fmt_json.h"
#include "kv/kvpolicy.h"

void
sq_genopt_init(struct sq_genopt *g)
{
	*g = (struct sq_genopt){ .n = 128, .prec = SQ_PREC_BF16, .seqs = 8,
	    .how = { .temperature = .8, .top_p = .95 } };
}

static int
count(const char *option, const char *arg, uint64_t lo, uint64_t hi,
    uint64_t *v, char *err)
{
	char *end;

	errno = 0;
	*v = strtoull(arg, &end, 10);
	if (errno != 0 || *arg < '0' || *arg > '9' || *end != '\0' ||
	    *v < lo || *v > hi)
		return sq_fail(err, "%s '%s': not a number from %ju to %ju",
		    option, arg, (uintmax_t)lo, (uintmax_t)hi);
	return 1;
}

static int
size(const char *option, const char *arg, uint64_t lo, uint64_t hi,
    size_t *v, char *err)
{
	uint64_t n;

	if (count(option, arg, lo, hi, &n, err) < 0)
		return -1;
	*v = (size_t)n;
	return 1;
}

static int
real(const char *option, const char *arg, double lo, double hi, double *v,
    char *err)
{
	char *end;

	*v = strtod(arg, &end);
	if (end == arg || *end != '\0' || !(*v >= lo && *v <= hi))
		return sq_fail(err, "%s '%s': not a number from %g to %g",
		    option, arg, lo, hi);
	return 1;
}

/* Bytes a second: 10M, 1.5G. */
static int
rate(const char *arg, double *v, char *err)
{
	char *end;

	*v = strtod(arg, &end);
	*v *= *end == 'K' ? 1e3 : *end == 'M' ? 1e6 : *end == 'G' ? 1e9 : 1;
	end += *end == 'K' || *end == 'M' || *end == 'G';
	if (end == arg || *end != '\0' || !(*v > 0 && *v < 1e15))
		return sq_fail(err, "--link-rate '%s': not bytes a second, "
		    "such as 100M", arg);
	return 1;
}

/* Whether it is one; it is read again when the model is known. */
static int
policy(const char *arg, char *err)
{
	struct sq_kv_policy p;

	return sq_kv_policy_parse(&p, arg, err) < 0 ? -1 : 1;
}

static int
add_stop(struct sq_genopt *g, const char *s, char *err)
{
	if (*s == '\0')
		return sq_fail(err, "an empty stop string");
	if (g->nstop == SQ_STOPS)
		return sq_fail(err, "more than %d stop strings", SQ_STOPS);
	g->stop[g->nstop++] = s;
	return 1;
}

int
sq_genopt_take(struct sq_genopt *g, int c, const char *arg, char *err)
{
	switch (c) {
	case 'n':
		return size("-n", arg, 0, 1 << 28, &g->n, err);
	case SQ_GEN_ACT:
		if (sq_act_choose(&g->act, arg) < 0)
			return sq_fail(err, "--act: '%s' is not none, int8, "
			    "fp8, int8:static or fp8:static", arg);
		return 1;
	case SQ_GEN_ATTENTION:
		if (sq_attn_choose(&g->attention, arg) < 0)
			return sq_fail(err, "--attention: '%s' is not all, "
			    "window:W, window:W+sink:S, pooled:D or "
			    "vertical-slash:D", arg);
		return 1;
	case SQ_GEN_F32:
		g->prec = SQ_PREC_F32;
		return 1;
	case SQ_GEN_GREEDY:
		g->how.temperature = 0;
		return 1;
	case SQ_GEN_IGNORE_EOS:
		g->ignore_eos = 1;
		return 1;
	case SQ_GEN_NO_BOS:
		g->no_bos = 1;
		return 1;
	case SQ_GEN_MIN_P:
		return real("--min-p", arg, 0, 1, &g->how.min_p, err);
	case SQ_GEN_SEED:
		return count("--seed", arg, 0, INT64_MAX, &g->how.seed, err);
	case SQ_GEN_TEMPERATURE:
		return real("--temperature", arg, 0, 100, &g->how.temperature,
		    err);
	case SQ_GEN_TOP_K:
		return size("--top-k", arg, 0, 1 << 24, &g->how.top_k, err);
	case SQ_GEN_TOP_P:
		return real("--top-p", arg, 0, 1, &g->how.top_p, err);
	case SQ_GEN_STOP:
		return add_stop(g, arg, err);
	case SQ_GEN_KV:
		g->kv = arg;
		return strcmp(arg, "auto") == 0 ? 1 : policy(arg, err);
	case SQ_GEN_KV_PREFILL:
		g->kv_prefill = arg;
		return policy(arg, err);
	case SQ_GEN_LINK_RATE:
		return rate(arg, &g->link, err);
	case SQ_GEN_BATCH:
		return size("--batch", arg, 1, 1024, &g->seqs, err);
	case SQ_GEN_CONTEXT:
		return size("--context", arg, 2, 1 << 28, &g->context, err);
	default:
		return 0;
	}
}

static int
json_size(const json_t *j, const char *key, size_t *v, char *err)
{
	uint64_t n = *v;

	if (sq_json_opt_uint(j, key, &n, err) < 0)
		return -1;
	*v = (size_t)n;
	return 0;
}

static int
json_stop(struct sq_genopt *g, const json_t *j, char *err)
{
	const json_t *stop = json_object_get(j, "stop"), *s;
	size_t i;

	if (stop == NULL || json_is_null(stop))
		return 0;
	g->nstop = 0;
	if (json_is_string(stop))
		return add_stop(g, json_string_value(stop), err);
	if (!json_is_array(stop))
		return sq_fail(err, "'stop': not a string or a list of them");
	json_array_foreach(stop, i, s) {
		if (!json_is_string(s))
			return sq_fail(err, "'stop': not strings");
		if (add_stop(g, json_string_value(s), err) < 0)
			return -1;
	}
	return 0;
}

int
sq_genopt_json(struct sq_genopt *g, const json_t *j, char *err)
{
	struct sq_sampling *s = &g->how;

	if (json_size(j, "max_tokens", &g->n, err) < 0 ||
	    json_size(j, "top_k", &s->top_k, err) < 0 ||
	    sq_json_opt_uint(j, "seed", &s->seed, err) < 0 ||
	    sq_json_opt_real(j, "temperature", &s->temperature, err) < 0 ||
	    sq_json_opt_real(j, "top_p", &s->top_p, err) < 0 ||
	    sq_json_opt_real(j, "min_p", &s->min_p, err) < 0 ||
	    json_stop(g, j, err) < 0)
		return -1;
	if (!(s->temperature >= 0 && s->temperature <= 100) ||
	    !(s->top_p >= 0 && s->top_p <= 1) ||
	    !(s->min_p >= 0 && s->min_p <= 1) || g->n > 1 << 28)
		return sq_fail(err, "a number of the prompt is out of range");
	return 0;
}
