/* A model that is ready to answer; see backend.h. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/pool.h"
#include "engine/backend.h"
#include "formats/fmt_sqa.h"
#include "kernels/limits.h"
#include "kv/kvpick.h"
#include "schema/profile.h"

/* Tokens a second that a prompt takes, where nothing was measured: two
 * operations a weight at what a core does in bf16. */
#define FLOPS_A_CORE	60e9

static uint64_t
machine_memory(void)
{
	return (uint64_t)sysconf(_SC_PHYS_PAGES) *
	    (uint64_t)sysconf(_SC_PAGESIZE);
}

/*
 * What was loaded: the digest of the original model, and how each tensor is
 * stored; of an artifact its MANIFEST, which has the digests of all members.
 */
static void
set_digest(struct sq_runner *b)
{
	const struct sq_source *s = b->model->source;
	const struct sq_sqa_member *m = s->sqa == NULL ? NULL :
	    sq_sqa_find(s->sqa, "MANIFEST");
	XXH3_state_t *x = XXH3_createState();
	char line[SQ_NAME + 100];
	size_t i;

	if (x == NULL)
		return;
	XXH3_128bits_reset(x);
	XXH3_128bits_update(x, s->files.h.model, strlen(s->files.h.model));
	for (i = 0; i < s->n; i++) {
		const struct sq_tensor *t = &s->tensor[i].t;

		snprintf(line, sizeof(line), "%s %d %d %ju %ju %d\n", t->name,
		    (int)t->type, (int)t->grid, (uintmax_t)t->group_rows,
		    (uintmax_t)t->group_cols, t->symmetric);
		XXH3_128bits_update(x, line, strlen(line));
	}
	if (m != NULL)
		XXH3_128bits_update(x, s->sqa->map + m->offset, m->size);
	sq_digest_text(b->digest, XXH3_128bits_digest(x));
	XXH3_freeState(x);
}

/* ---- the precision of the cache ---- */

static double
weights_of(const struct sq_config *c)
{
	double a = (double)(2 * c->heads + 2 * c->kv_heads) *
	    (double)c->head_dim, d = (double)c->dim;

	return (double)c->layers * d * (a + 3 * (double)c->ffn);
}

static void
pick(struct sq_runner *b, const struct sq_genopt *o)
{
	const struct sq_config *c = &b->model->config;
	struct sq_kv_need need = { (size_t)c->layers, (size_t)c->kv_heads,
	    (size_t)c->head_dim, b->how.seqs * b->how.context, b->how.memory,
	    o->link, 0 };
	double rate = FLOPS_A_CORE * sq_pool_threads(b->ctx.pool);

	/* prompts are computed at about half of what the machine can do */
	if (o->link > 0 && sq_limit_flops(b->ctx.pool, b->ctx.kern->name,
	    b->how.prec, &rate) == 0)
		rate /= 2;
	need.prefill = rate / 2 / weights_of(c);
	sq_kv_pick(&b->how.kv, &need, b->why, sizeof(b->why));
}

/* The precisions that a profile asks for. */
static int
kv_of_profile(struct sq_runner *b, const struct sq_profile *p, char *err)
{
	char *spec = sq_profile_kv_spec(p, 0);
	char *prefill = sq_profile_kv_spec(p, 1);
	int r = 0;

	if (spec != NULL) {
		r = sq_kv_policy_parse(&b->how.kv, spec, err);
		snprintf(b->why, sizeof(b->why), "%s, as the profile says",
		    spec);
	}
	if (r == 0 && (prefill == NULL) != (spec == NULL)) {
		b->how.split = 1;
		sq_kv_policy_plain(&b->how.prefill, b->how.kv.near);
	}
	if (r == 0 && prefill != NULL && (spec == NULL || strcmp(spec,
	    prefill) != 0)) {
		b->how.split = 1;
		r = sq_kv_policy_parse(&b->how.prefill, prefill, err);
	}
	free(prefill);
	free(spec);
	return r;
}

/* The profile of -p, else the artifact's own: its name, and where kv is true
 * the precision of the cache. */
static int
from_profile(struct sq_runner *b, const char *name, int kv, char *err)
{
	const struct sq_source *s = b->model->source;
	const struct sq_sqa_member *m = s->sqa == NULL ? NULL :
	    sq_sqa_find(s->sqa, "profile.yaml");
	struct sq_profile p;
	int r;

	if (name == NULL && m == NULL)
		return 0;
	r = name != NULL ? sq_profile_load(&p, name, err) :
	    sq_profile_parse(&p, "profile.yaml", (const char *)s->sqa->map +
	    m->offset, m->size, err);
	if (r < 0)
		return -1;
	snprintf(b->profile, sizeof(b->profile), "%s", p.id == NULL ? "" :
	    p.id);
	r = kv ? kv_of_profile(b, &p, err) : 0;
	sq_profile_release(&p);
	return r;
}

static int
set_policy(struct sq_runner *b, const struct sq_genopt *o,
    const char *profile, char *err)
{
	int r;

	sq_kv_policy_plain(&b->how.kv, o->prec == SQ_PREC_F32 ? SQ_F32 :
	    SQ_BF16);
	r = from_profile(b, profile, o->kv == NULL, err);
	if (r < 0)
		return -1;
	if (o->kv != NULL && strcmp(o->kv, "auto") == 0)
		pick(b, o);
	else if (o->kv != NULL)
		r = sq_kv_policy_parse(&b->how.kv, o->kv, err);
	if (r == 0 && o->kv_prefill != NULL) {
		b->how.split = 1;
		r = sq_kv_policy_parse(&b->how.prefill, o->kv_prefill, err);
	}
	return r;
}

/* ---- loading ---- */

static int
open_model(struct sq_runner *b, const char *path, const struct sq_genopt *o,
    char *err)
{
	char why[SQ_ERR];

	if ((b->model = sq_model_open(path, err)) == NULL)
		return -1;
	set_digest(b);
	if (sq_model_place(b->model, b->ctx.kern->mem, err) < 0)
		return -1;
	if (sq_model_choose_act(b->model, &o->act, why) < 0)
		return sq_fail(err, "'%s': --act: %s", path, why);
	if (o->attention.pick != SQ_ATTN_ALL && b->ctx.kern->mem->device)
		return sq_fail(err, "--attention: '%s' sees all keys",
		    b->ctx.kern->name);
	b->model->attention = o->attention;
	b->tok = sq_files_tokenizer(&b->model->source->files, why);
	if (b->tok == NULL)
		return sq_fail(err, "'%s': %s", path, why);
	b->how.neos = sq_files_eos(&b->model->source->files,
	    &b->model->config, b->eos);
	return 0;
}

static int
open_engine(struct sq_runner *b, const struct sq_backend_how *how,
    const struct sq_genopt *o, const char *profile, char *err)
{
	size_t context = (size_t)b->model->config.context;

	b->how.model = b->model;
	b->how.tok = b->tok;
	b->how.ctx = &b->ctx;
	b->how.prec = o->prec;
	b->how.eos = b->eos;
	b->how.digest = b->digest;
	b->how.seqs = o->seqs;
	b->how.context = o->context > 0 && o->context < context ? o->context :
	    context;
	b->how.memory = how->memory > 0 ? how->memory : machine_memory() / 4;
	if (set_policy(b, o, profile, err) < 0)
		return -1;
	if (how->no_engine)
		return 0;
	b->engine = sq_batcher_new(&b->how, err);
	return b->engine == NULL ? -1 : 0;
}

struct sq_runner *
sq_backend_load_profile(const char *artifacts, const char *profile,
    const struct sq_backend_how *how, char *err)
{
	static const struct sq_backend_how defaults;
	struct sq_runner *b = calloc(1, sizeof(*b));
	const struct sq_kern *kern;
	struct sq_genopt opt;

	how = how == NULL ? &defaults : how;
	sq_genopt_init(&opt);
	if (how->opt != NULL)
		opt = *how->opt;
	kern = how->kern != NULL ? how->kern : sq_kern_find("auto", err);
	if (b == NULL || kern == NULL || sq_ctx_init(&b->ctx, kern,
	    sq_pool_new(how->threads)) < 0) {
		sq_fail(err, "out of memory");
		free(b);
		return NULL;
	}
	b->ctx.fell = how->fell;
	if (open_model(b, artifacts, &opt, err) == 0 &&
	    open_engine(b, how, &opt, profile, err) == 0)
		return b;
	sq_backend_free(b);
	return NULL;
}

void
sq_backend_free(struct sq_runner *b)
{
	if (b == NULL)
		return;
	sq_batcher_free(b->engine);
	sq_tokenizer_free(b->tok);
	sq_model_free(b->model);
	sq_pool_free(b->ctx.pool);
	sq_ctx_release(&b->ctx);
	free(b);
}

/* ---- running ---- */

int
sq_backend_request(const struct sq_runner *b, const struct sq_prompt *p,
    struct sq_ids *ids, struct sq_request *r, char *err)
{
	const struct sq_genopt *o = &p->opt;

	if (p->id == NULL && sq_tokenizer_encode(b->tok, p->text, p->len,
	    p->flags, ids, err) < 0)
		return -1;
	if (p->id != NULL && sq_ids_add(ids, p->id, p->n) < 0)
		return sq_fail(err, "out of memory");
	*r = (struct sq_request){ .ids = ids->id, .n = ids->n,
	    .max_tokens = o->n, .sampling = o->how, .stop = o->stop,
	    .nstop = o->nstop, .ignore_eos = o->ignore_eos };
	return 0;
}

double
sq_logprob(const float *logits, size_t vocab, uint32_t token)
{
	double max = -INFINITY, sum = 0;
	size_t i;

	for (i = 0; i < vocab; i++)
		max = fmax(max, (double)logits[i]);
	for (i = 0; i < vocab; i++)
		sum += exp((double)logits[i] - max);
	return (double)logits[token] - max - log(sum);
}

/* Where a request's events go. */
struct sink {
	const struct sq_runner *b;
	struct sq_generation *g;
	int failed;
	sq_event_fn *also;		/* or NULL */
	void *arg;
};

static void
fail_sink(struct sink *s)
{
	s->failed = 1;
	s->g->finish = SQ_FAILED;
	sq_fail(s->g->error, "out of memory");
}

static void
add_text(struct sink *s, const char *text, size_t len)
{
	struct sq_generation *g = s->g;
	char *p = realloc(g->text, g->len + len + 1);

	if (p == NULL) {
		fail_sink(s);
		return;
	}
	memcpy(p + g->len, text, len);
	g->len += len;
	p[g->len] = '\0';
	g->text = p;
}

static void
add_token(struct sink *s, const struct sq_event *ev)
{
	struct sq_generation *g = s->g;
	uint32_t *t = realloc(g->token, (g->n + 1) * sizeof(*t));
	double *l;

	if (t != NULL)
		g->token = t;
	l = realloc(g->logprob, (g->n + 1) * sizeof(*l));
	if (l != NULL)
		g->logprob = l;
	if (t == NULL || l == NULL) {
		fail_sink(s);
		return;
	}
	g->logprob[g->n] = sq_logprob(ev->logits,
	    (size_t)s->b->model->config.vocab, ev->token);
	g->token[g->n++] = ev->token;
}

static void
collect(void *arg, const struct sq_event *ev)
{
	struct sink *s = arg;

	if (s->also != NULL)
		s->also(s->arg, ev);
	if (s->failed || (ev->kind != SQ_EV_TOKEN && ev->kind != SQ_EV_END))
		return;
	if (ev->kind == SQ_EV_TOKEN)
		add_token(s, ev);
	if (!s->failed)
		add_text(s, ev->text == NULL ? "" : ev->text, ev->len);
	if (ev->kind == SQ_EV_END && !s->failed) {
		s->g->finish = ev->finish;
		s->g->usage = *ev->usage;
		if (ev->why != NULL)
			sq_fail(s->g->error, "%s", ev->why);
	}
}

int
sq_backend_run(struct sq_runner *b, const char *const *prompts, size_t n,
    const struct sq_genopt *o, struct sq_generation *g, char *err)
{
	struct sink *sink = calloc(n + 1, sizeof(*sink));
	struct sq_ids ids = { NULL, 0, 0 };
	struct sq_request r;
	struct sq_prompt p;
	size_t i;
	int ret, ok;

	memset(g, 0, n * sizeof(*g));
	if (sink == NULL)
		return sq_fail(err, "out of memory");
	for (i = 0; i < n; i++, ids.n = 0) {
		sink[i] = (struct sink){ .b = b, .g = g + i };
		ok = sq_prompt_text(&p, prompts[i], strlen(prompts[i]), o,
		    g[i].error) == 0 &&
		    sq_backend_request(b, &p, &ids, &r, g[i].error) == 0;
		sq_prompt_release(&p);
		if (!ok) {
			g[i].finish = SQ_FAILED;
			continue;
		}
		r.event = collect;
		r.arg = sink + i;
		if (sq_batcher_submit(b->engine, &r, g[i].error) == 0)
			g[i].finish = SQ_FAILED;
	}
	sq_ids_release(&ids);
	ret = sq_batcher_run(b->engine, err);
	free(sink);
	return ret;
}

int
sq_backend_say(struct sq_runner *b, const struct sq_prompt *p, void *arg,
    sq_event_fn *event, struct sq_generation *g, char *err)
{
	struct sink sink = { b, g, 0, event, arg };
	struct sq_ids ids = { NULL, 0, 0 };
	struct sq_request r;
	int ret = -1;

	memset(g, 0, sizeof(*g));
	if (sq_backend_request(b, p, &ids, &r, err) == 0) {
		r.event = collect;
		r.arg = &sink;
		if (sq_batcher_submit(b->engine, &r, err) != 0)
			ret = sq_batcher_run(b->engine, err);
	}
	sq_ids_release(&ids);
	return ret;
}

void
sq_generation_release(struct sq_generation *g)
{
	free(g->text);
	free(g->token);
	free(g->logprob);
	memset(g, 0, sizeof(*g));
}
