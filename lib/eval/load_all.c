/* Options, server, run, report; see load_all.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "eval/load_all.h"
#include "eval/load_engine.h"
#include "model/files.h"
#include "model/forward.h"

/* One of them: what follows it, or NULL. */
static const char *
limit(struct sq_load_how *h, const char *p)
{
	static const char *const names[] = { "ttft=", "tpot=", "e2e=" };
	double *at[] = { &h->slo_ttft, &h->slo_tpot, &h->slo_e2e }, v;
	char *end;
	size_t i, n;

	for (i = 0; i < 3; i++) {
		n = strlen(names[i]);
		if (strncmp(p, names[i], n) != 0)
			continue;
		v = strtod(p + n, &end);
		*at[i] = v;
		return v > 0 && isfinite(v) ? end : NULL;
	}
	return NULL;
}

int
sq_load_slo(struct sq_load_how *h, const char *text, char *err)
{
	const char *p = text;

	while ((p = limit(h, p)) != NULL && *p == ',')
		p++;
	return p != NULL && *p == '\0' ? 0 : sq_fail(err, "'%s': not "
	    "ttft=MS, tpot=MS and e2e=MS with commas between them", text);
}

static int
run(struct sq_load_all *o, struct sq_load *l,
    const struct sq_load_server *server, char *err)
{
	if (o->progress != NULL)
		o->progress->bytes = l->n;
	l->progress = o->progress;
	if (sq_load_run(l, server, err) < 0)
		return -1;
	if (o->progress != NULL)
		sq_progress_end(o->progress);
	o->failed = l->failed;
	memcpy(o->why, l->why, sizeof(o->why));
	return 0;
}

/* ---- an endpoint ---- */

static int
to_endpoint(struct sq_load_all *o, struct sq_load *l,
    struct sq_load_about *about, FILE *out, char *err)
{
	struct sq_load_http h;
	int r;

	if ((r = sq_load_http_open(&h, &o->http, l, err)) == 0)
		r = run(o, l, &h.server, err);
	about->engine = o->http.url;
	about->model = h.model;
	if (r == 0)
		r = sq_load_report(out, l, about, o->form, err);
	sq_load_http_close(&h);
	return r;
}

static int
endpoint(struct sq_load_all *o, struct sq_load *l, struct sq_load_about *about,
    FILE *out, char *err)
{
	struct sq_tokenizer *tok = NULL;
	struct sq_source *s = NULL;
	int r = 0;

	if (o->how.text == NULL)
		return sq_fail(err, "an endpoint needs a text that prompts "
		    "are cut from");
	if (o->tokenizer != NULL) {
		if ((s = sq_source_open_any(o->tokenizer, err)) == NULL)
			return -1;
		if ((tok = sq_files_tokenizer(&s->files, err)) == NULL)
			r = sq_fail(err, "'%s': %s", o->tokenizer, err);
	}
	o->http.header = o->header;
	if (r == 0 && (r = sq_load_plan(l, &o->how, tok, 0, err)) == 0)
		r = to_endpoint(o, l, about, out, err);
	sq_tokenizer_free(tok);
	if (s != NULL)
		sq_source_close(s);
	return r;
}

/* ---- the engine in this process ---- */

static int
to_engine(struct sq_load_all *o, struct sq_load *l, const struct sq_model *m,
    struct sq_load_about *about, FILE *out, char *err)
{
	struct sq_batcher_how how = { .model = m, .ctx = o->ctx,
	    .prec = o->prec };
	struct sq_batcher_totals t;
	struct sq_load_engine e = { 0 };
	char kv[SQ_KV_TEXT], precision[SQ_KV_TEXT + 32];
	struct rusage u;
	int r = 0;

	sq_kv_policy_plain(&how.kv, sq_forward_kv_type(o->prec));
	if (o->kv != NULL)
		r = sq_kv_policy_parse(&how.kv, o->kv, err);
	if (r == 0 && (r = sq_load_engine_open(&e, &how, l, err)) == 0 &&
	    (r = run(o, l, &e.server, err)) == 0) {
		sq_batcher_totals(e.batcher, &t);
		getrusage(RUSAGE_SELF, &u);
		sq_kv_policy_text(&how.kv, kv);
		snprintf(precision, sizeof(precision), "%s/kv=%s", o->prec ==
		    SQ_PREC_F32 ? "f32" : "bf16", kv);
		about->precision = precision;
		about->weights = (double)sq_source_bytes(m->source);
		about->kv = (double)t.kv_peak;
		about->activations = (double)t.activations;
		about->peak = 1024. * (double)u.ru_maxrss;
		r = sq_load_report(out, l, about, o->form, err);
	}
	sq_load_engine_close(&e);
	return r;
}

static int
engine(struct sq_load_all *o, struct sq_load *l, struct sq_load_about *about,
    FILE *out, char *err)
{
	struct sq_tokenizer *tok = NULL;
	struct sq_model *m = sq_model_open(o->model, err);
	int r = 0;

	if (m == NULL || sq_model_place(m, o->ctx->kern->mem, err) < 0)
		r = -1;
	if (r == 0 && o->how.text != NULL &&
	    (tok = sq_files_tokenizer(&m->source->files, err)) == NULL)
		r = sq_fail(err, "'%s': %s", o->model, err);
	if (r == 0 && (r = sq_load_plan(l, &o->how, tok,
	    (size_t)m->config.vocab, err)) == 0)
		r = to_engine(o, l, m, about, out, err);
	sq_tokenizer_free(tok);
	sq_model_free(m);
	return r;
}

int
sq_load_all(struct sq_load_all *o, FILE *out, char *err)
{
	struct sq_load_about about = { .engine = "sq", .version = o->version,
	    .model = o->model, .label = o->label, .precision = "",
	    .weights = NAN, .kv = NAN, .activations = NAN, .peak = NAN,
	    .price = &o->price };
	struct sq_load l = { 0 };
	int r;

	if (o->how.arrival == SQ_TRACE && o->how.trace == NULL)
		return sq_fail(err, "arrivals of a trace need a trace");
	r = o->http.url != NULL ? endpoint(o, &l, &about, out, err) :
	    engine(o, &l, &about, out, err);
	sq_energy_close(&l.energy);
	sq_load_release(&l);
	return r;
}
