/*
 * What a load came to: one list of figures, from which the table, the line of
 * CSV and the JSON are made.  The JSON has the same figures under the names of
 * `vllm bench serve', and in the forms of sagellm-benchmark and of LoadGen.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "eval/load.h"
#include "formats/fmt_csv.h"
#include "formats/fmt_json.h"

#define MAX_FIGURES	96

struct figure {
	char name[32], vllm[40];	/* vllm: "" where it has none */
	const char *unit;
	const char *text;		/* a word, or NULL: */
	double value;			/* NAN: unknown */
};

/* Times of one kind. */
struct times {
	const char *name, *vllm, *loadgen;
	struct sq_series ms;
};

enum { TTFT, TPOT, ITL, E2E, NTIMES };

struct report {
	const struct sq_load *l;
	const struct sq_load_about *a;
	struct times t[NTIMES];
	size_t completed, in, out, good, good_tokens;
	double seconds, user;		/* user: mean tokens/s of a request */
	char date[32];
	struct figure f[MAX_FIGURES];
	size_t n;
};

static struct figure *
put(struct report *r, const char *name, const char *vllm, const char *unit,
    double value)
{
	struct figure *f = &r->f[r->n++];

	snprintf(f->name, sizeof(f->name), "%s", name);
	snprintf(f->vllm, sizeof(f->vllm), "%s", vllm);
	f->unit = unit;
	f->value = value;
	return f;
}

static void
word(struct report *r, const char *name, const char *vllm, const char *text)
{
	put(r, name, vllm, "", NAN)->text = text == NULL ? "" : text;
}

static int
within(double v, double limit)
{
	return limit == 0 || v <= limit;
}

/* Times of one request that was completed. */
static int
collect_one(struct report *r, const struct sq_load_request *q)
{
	const struct sq_load_how *how = &r->l->how;
	double ttft = 1e3 * (q->first - q->start);
	double e2e = 1e3 * (q->last - q->start), tpot = 0;
	int bad = 0;

	r->completed++;
	r->in += q->in;
	r->out += q->out;
	bad |= sq_series_add(&r->t[TTFT].ms, ttft);
	bad |= sq_series_add(&r->t[E2E].ms, e2e);
	if (q->out > 1) {
		tpot = 1e3 * (q->last - q->first) / (double)(q->out - 1);
		bad |= sq_series_add(&r->t[TPOT].ms, tpot);
	}
	r->user += (double)q->out / (1e-3 * e2e);
	if (within(ttft, how->slo_ttft) && within(tpot, how->slo_tpot) &&
	    within(e2e, how->slo_e2e)) {
		r->good++;
		r->good_tokens += q->out;
	}
	return bad;
}

static int
collect(struct report *r)
{
	static const struct times names[NTIMES] = {
		{ "ttft", "ttft", "first token latency (ns)", { 0 } },
		{ "tpot", "tpot", "time to output token (ns)", { 0 } },
		{ "itl", "itl", NULL, { 0 } },
		{ "e2e", "e2el", "latency (ns)", { 0 } },
	};
	const struct sq_load *l = r->l;
	size_t i;
	int bad = 0;

	memcpy(r->t, names, sizeof(names));
	for (i = 0; i < l->n; i++)
		if (l->request[i].ok)
			bad |= collect_one(r, &l->request[i]);
	for (i = 0; i < l->itl.n; i++)
		bad |= sq_series_add(&r->t[ITL].ms, l->itl.v[i]);
	for (i = 0; i < NTIMES; i++)
		sq_series_sort(&r->t[i].ms);
	r->seconds = l->ended - l->began;
	r->user /= (double)r->completed;
	return bad;
}

static void
put_times(struct report *r, const struct times *t)
{
	static const struct {
		const char *name, *vllm;
		double share;
	} ranks[] = { { "p50", "median", .5 }, { "p90", "p90", .9 },
	    { "p95", "p95", .95 }, { "p99", "p99", .99 } };
	char name[32], vllm[40];
	size_t i;

	snprintf(name, sizeof(name), "%s_ms_mean", t->name);
	snprintf(vllm, sizeof(vllm), "mean_%s_ms", t->vllm);
	put(r, name, vllm, "ms", sq_series_mean(&t->ms));
	snprintf(name, sizeof(name), "%s_ms_std", t->name);
	snprintf(vllm, sizeof(vllm), "std_%s_ms", t->vllm);
	put(r, name, vllm, "ms", sq_series_std(&t->ms));
	for (i = 0; i < sizeof(ranks) / sizeof(ranks[0]); i++) {
		snprintf(name, sizeof(name), "%s_ms_%s", t->name,
		    ranks[i].name);
		snprintf(vllm, sizeof(vllm), "%s_%s_ms", ranks[i].vllm,
		    t->vllm);
		put(r, name, vllm, "ms", sq_series_rank(&t->ms,
		    ranks[i].share));
	}
}

/* How they came, in a word. */
static const char *
scenario(const struct sq_load_how *h)
{
	return h->arrival == SQ_TRACE ? "trace" : h->rate > 0 ?
	    sq_arrivals[h->arrival] : h->at_once > 0 ? "closed" : "burst";
}

static double
or_nan(double v)
{
	return v > 0 ? v : NAN;
}

static double
peak_second(const struct sq_load *l)
{
	size_t i, most = 0;

	for (i = 0; i < l->nseconds; i++)
		most = l->second[i] > most ? l->second[i] : most;
	return (double)most;
}

static void
put_about(struct report *r)
{
	const struct sq_load *l = r->l;
	const struct sq_load_how *h = &l->how;
	time_t now = time(NULL);
	struct tm tm;

	gmtime_r(&now, &tm);
	strftime(r->date, sizeof(r->date), "%Y-%m-%dT%H:%M:%SZ", &tm);
	word(r, "date", "date", r->date);
	word(r, "engine", "backend", r->a->engine);
	word(r, "version", "", r->a->version);
	word(r, "model", "model_id", r->a->model);
	word(r, "label", "label", r->a->label);
	word(r, "precision", "", r->a->precision);
	word(r, "scenario", "", scenario(h));
	put(r, "request_rate", "", "1/s", or_nan(h->rate));
	put(r, "max_concurrency", "max_concurrency", "",
	    or_nan((double)h->at_once));
	put(r, "num_prompts", "num_prompts", "", (double)l->n);
}

static void
put_rates(struct report *r)
{
	const struct sq_load *l = r->l;
	const struct sq_load_how *h = &l->how;
	double s = r->seconds;
	int slo = h->slo_ttft > 0 || h->slo_tpot > 0 || h->slo_e2e > 0;

	put(r, "duration_s", "duration", "s", s);
	put(r, "completed", "completed", "", (double)r->completed);
	put(r, "failed", "failed", "", (double)l->failed);
	put(r, "in_tokens", "total_input_tokens", "", (double)r->in);
	put(r, "out_tokens", "total_output_tokens", "", (double)r->out);
	put(r, "req_s", "request_throughput", "1/s", (double)r->completed / s);
	put(r, "out_tok_s", "output_throughput", "tok/s", (double)r->out / s);
	put(r, "total_tok_s", "total_token_throughput", "tok/s",
	    (double)(r->in + r->out) / s);
	put(r, "peak_out_tok_s", "max_output_tokens_per_s", "tok/s",
	    peak_second(l));
	put(r, "tok_s_user", "", "tok/s", r->user);
	put(r, "slo_ttft_ms", "", "ms", or_nan(h->slo_ttft));
	put(r, "slo_tpot_ms", "", "ms", or_nan(h->slo_tpot));
	put(r, "slo_e2e_ms", "", "ms", or_nan(h->slo_e2e));
	put(r, "goodput_req_s", "request_goodput", "1/s", slo ?
	    (double)r->good / s : NAN);
	put(r, "goodput_tok_s", "", "tok/s", slo ?
	    (double)r->good_tokens / s : NAN);
}

static void
put_costs(struct report *r)
{
	const struct sq_load_about *a = r->a;
	double rate = (double)r->out / r->seconds;

	put(r, "memory_weights", "", "bytes", a->weights);
	put(r, "memory_kv", "", "bytes", a->kv);
	put(r, "memory_activations", "", "bytes", a->activations);
	put(r, "memory_peak", "", "bytes", a->peak);
	put(r, "energy_j", "", "J", r->l->joules);
	put(r, "energy_j_tok", "", "J/token", r->out == 0 ? NAN :
	    r->l->joules / (double)r->out);
	word(r, "energy_method", "", sq_energy_method(&r->l->energy));
	put(r, "cost_mtok", "", "Mtok", a->price->per_hour > 0 && r->out > 0 ?
	    sq_price_of_million(a->price, rate) : NAN);
	word(r, "currency", "", a->price->currency);
}

/* ---- the forms ---- */

static void
number(char text[32], double v)
{
	text[0] = '\0';
	if (!isnan(v))
		snprintf(text, 32, "%.9g", v);
}

static void
print_csv(FILE *out, const struct report *r)
{
	char text[32];
	size_t i;

	for (i = 0; i < r->n; i++)
		sq_csv_field(out, i == 0, r->f[i].name);
	putc('\n', out);
	for (i = 0; i < r->n; i++) {
		number(text, r->f[i].value);
		sq_csv_field(out, i == 0, r->f[i].text != NULL ?
		    r->f[i].text : text);
	}
	putc('\n', out);
}

static void
print_table(FILE *out, const struct report *r)
{
	size_t i;

	for (i = 0; i < r->n; i++) {
		const struct figure *f = &r->f[i];

		if (f->text != NULL && f->text[0] != '\0')
			fprintf(out, "%-20s %s\n", f->name, f->text);
		else if (f->text == NULL && !isnan(f->value))
			fprintf(out, "%-20s %12.6g%s%s\n", f->name, f->value,
			    f->unit[0] == '\0' ? "" : " ", f->unit);
	}
}

static json_t *
value(const struct figure *f)
{
	return f->text != NULL ? json_string(f->text) : isnan(f->value) ?
	    json_null() : f->value == floor(f->value) &&
	    fabs(f->value) < 1e15 && f->unit[0] == '\0' ?
	    json_integer((json_int_t)f->value) : json_real(f->value);
}

static double
mean(const struct report *r, int kind)
{
	double v = sq_series_mean(&r->t[kind].ms);

	return isnan(v) ? 0 : v;
}

/* sagellm-benchmark's "e2e" object: its tbt_ms is our TPOT, its throughput_tps
 * the mean of the requests' own. */
static void
add_sagellm(json_t *j, const struct report *r)
{
	size_t batch = r->l->how.at_once > 0 ? r->l->how.at_once : r->l->n;
	double user = isnan(r->user) ? 0 : r->user;
	struct sq_series *e = (struct sq_series *)&r->t[E2E].ms;
	double rank[3] = { 0 };
	size_t i;

	for (i = 0; e->n > 0 && i < 3; i++)
		rank[i] = sq_series_rank(e, (double[]){ .5, .95, .99 }[i]);
	json_object_set_new(j, "kind", json_string("e2e"));
	json_object_set_new(j, "models", json_pack("[s]", r->a->model));
	json_object_set_new(j, "batch_sizes", json_pack("[i]", (int)batch));
	json_object_set_new(j, "summary", json_pack("{s:i,s:f,s:f,s:f}",
	    "total_rows", 1, "avg_ttft_ms", mean(r, TTFT), "avg_tbt_ms",
	    mean(r, TPOT), "avg_throughput_tps", user));
	json_object_set_new(j, "rows", json_pack("[{s:s,s:s,s:s,s:i,s:f,s:f,"
	    "s:f,s:f,s:f,s:f,s:f,s:s}]", "model", r->a->model, "precision",
	    r->a->precision, "scenario", scenario(&r->l->how), "batch_size",
	    (int)batch, "ttft_ms", mean(r, TTFT), "tbt_ms", mean(r, TPOT),
	    "throughput_tps", user, "latency_p50_ms", rank[0],
	    "latency_p95_ms", rank[1], "latency_p99_ms", rank[2],
	    "memory_mb", isnan(r->a->peak) ? 0 : r->a->peak / 1e6, "mode",
	    "live"));
}

/* MLPerf LoadGen's names; this is no LoadGen, and says nothing of validity. */
static json_t *
loadgen(const struct report *r)
{
	static const double share[] = { .5, .9, .95, .99 };
	const struct sq_load_how *h = &r->l->how;
	const char *name = h->rate > 0 || h->arrival == SQ_TRACE ? "Server" :
	    h->at_once == 1 ? "SingleStream" : "Offline";
	json_t *j = json_pack("{s:s,s:s,s:f,s:f}", "SUT name", r->a->engine,
	    "Scenario", name, "Completed samples per second",
	    (double)r->completed / r->seconds, "Completed tokens per second",
	    (double)r->out / r->seconds);
	char key[80];
	size_t i, k;

	if (h->rate > 0)
		json_object_set_new(j, "target_qps", json_real(h->rate));
	for (i = 0; i < NTIMES; i++)
		for (k = 0; r->t[i].loadgen != NULL && r->t[i].ms.n > 0 &&
		    k < 4; k++) {
			snprintf(key, sizeof(key), "%.2f percentile %s",
			    100 * share[k], r->t[i].loadgen);
			json_object_set_new(j, key, json_integer((json_int_t)
			    (1e6 * sq_series_rank(&r->t[i].ms, share[k]))));
		}
	return j;
}

static int
print_json(FILE *out, const struct report *r, char *err)
{
	const struct sq_load_how *h = &r->l->how;
	json_t *j = json_object();
	char *text;
	size_t i;

	for (i = 0; i < r->n; i++)
		json_object_set_new(j, r->f[i].name, value(&r->f[i]));
	for (i = 0; i < r->n; i++)
		if (r->f[i].vllm[0] != '\0')
			json_object_set_new(j, r->f[i].vllm,
			    value(&r->f[i]));
	json_object_set_new(j, "request_rate", h->rate > 0 ?
	    json_real(h->rate) : json_string("inf"));
	json_object_set_new(j, "burstiness", h->arrival == SQ_POISSON ?
	    json_real(1) : json_null());
	add_sagellm(j, r);
	json_object_set_new(j, "mlperf", loadgen(r));
	text = sq_json_pretty(j);
	json_decref(j);
	if (text == NULL)
		return sq_fail(err, "out of memory");
	fputs(text, out);
	free(text);
	return 0;
}

int
sq_load_report(FILE *out, const struct sq_load *l,
    const struct sq_load_about *about, enum sq_load_form form, char *err)
{
	struct report r = { .l = l, .a = about };
	int ret = 0, i;

	if (collect(&r) < 0)
		ret = sq_fail(err, "out of memory");
	put_about(&r);
	put_rates(&r);
	for (i = 0; i < NTIMES; i++)
		put_times(&r, &r.t[i]);
	put_costs(&r);
	if (ret == 0 && form == SQ_LOAD_CSV)
		print_csv(out, &r);
	else if (ret == 0 && form == SQ_LOAD_TABLE)
		print_table(out, &r);
	else if (ret == 0)
		ret = print_json(out, &r, err);
	for (i = 0; i < NTIMES; i++)
		sq_series_release(&r.t[i].ms);
	return ret;
}
