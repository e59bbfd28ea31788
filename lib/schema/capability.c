/* Descriptors; see capability.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/utsname.h>

#include "base/pool.h"
#include "kernels/limits.h"
#include "model/mask_seen.h"
#include "model/stored.h"
#include "schema/capability.h"
#include "schema/kv_schema.h"

#define GB		1e9
#define SAMPLE_PROMPT	128		/* tokens of the measurement */
#define SAMPLE_TOKENS	16

/* ---- the machine ---- */

/* The value of the first line of a file that begins with key, after ':'. */
static void
first_line(const char *path, const char *key, char *value, size_t size)
{
	FILE *f = fopen(path, "r");
	char line[4096], *p;

	*value = '\0';
	while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
		if (strncmp(line, key, strlen(key)) != 0 ||
		    (p = strchr(line, ':')) == NULL)
			continue;
		p += 1 + strspn(p + 1, " \t");
		p[strcspn(p, "\n")] = '\0';
		snprintf(value, size, "%s", p);
		break;
	}
	if (f != NULL)
		fclose(f);
}

static double
free_memory(void)
{
	char text[64];

	first_line("/proc/meminfo", "MemAvailable", text, sizeof(text));
	return strtod(text, NULL) * 1024 / GB;
}

/* The levels that run here, and what they reach. */
static int
levels(struct sq_ctx *c, json_t *isa, json_t *flops)
{
	const char *const *l;
	char err[SQ_ERR];
	double f32 = 0, bf16 = 0, rate;

	for (l = sq_kern_levels(); *l != NULL; l++) {
		if (sq_kern_find(*l, err) == NULL)
			continue;
		json_array_append_new(isa, json_string(*l));
		if (sq_limit_flops(c->pool, *l, SQ_PREC_F32, &rate) == 0 &&
		    rate > f32)
			f32 = rate;
		if (sq_limit_flops(c->pool, *l, SQ_PREC_BF16, &rate) == 0 &&
		    rate > bf16)
			bf16 = rate;
	}
	if (f32 > 0)
		json_object_set_new(flops, "fp32", json_real(f32));
	if (bf16 > 0)
		json_object_set_new(flops, "bf16", json_real(bf16));
	return 0;
}

json_t *
sq_accelerator(struct sq_ctx *c, char *err)
{
	json_t *isa = json_array(), *flops = json_object(), *j;
	struct utsname u = { .machine = "" };
	char name[256];
	double read = 0;

	uname(&u);
	first_line("/proc/cpuinfo", "model name", name, sizeof(name));
	levels(c, isa, flops);
	if (sq_limit_read(c->pool, &read) < 0) {
		sq_fail(err, "no memory to measure with");
		json_decref(isa);
		json_decref(flops);
		return NULL;
	}
	j = json_pack("{s:s, s:i, s:s, s:s, s:f, s:f, s:i, s:o, s:f, s:o, "
	    "s:i, s:b, s:i, s:{s:b, s:b, s:b, s:b, s:b, s:b, s:b, s:b}}",
	    "backend", "cpu", "device_id", 0, "name", name, "architecture",
	    u.machine, "total_memory_gb", (double)sysconf(_SC_PHYS_PAGES) *
	    (double)sysconf(_SC_PAGESIZE) / GB, "free_memory_gb",
	    free_memory(), "num_cores", sq_pool_threads(c->pool), "isa", isa,
	    "memory_bandwidth", read, "flops", flops, "dma_alignment", 64,
	    "supports_peer2peer", 0, "page_bytes",
	    (int)sysconf(_SC_PAGESIZE), "kernels",
	    "supports_fp32", 1, "supports_fp16", 1, "supports_bf16", 1,
	    "supports_fp8", 1, "supports_int8", 1, "supports_int4", 1,
	    "flash_attention", 1, "paged_attention", 1);
	if (j == NULL)
		sq_fail(err, "out of memory");
	return j;
}

/* ---- a loaded model ---- */

struct sample {
	struct sq_usage u;
	int failed;
};

static void
sampled(void *arg, const struct sq_event *ev)
{
	struct sample *s = arg;

	if (ev->kind != SQ_EV_END)
		return;
	s->u = *ev->usage;
	s->failed = ev->finish == SQ_FAILED;
}

/* A short prompt and a short answer, alone. */
static int
measure(struct sq_runner *b, double *ttft, double *tps, char *err)
{
	uint32_t ids[SAMPLE_PROMPT];
	struct sample s = { .failed = 0 };
	struct sq_request q = { .ids = ids, .max_tokens = SAMPLE_TOKENS,
	    .ignore_eos = 1, .event = sampled, .arg = &s };
	size_t i;

	q.n = b->how.context > 2 * SAMPLE_PROMPT ? SAMPLE_PROMPT :
	    b->how.context / 2;
	for (i = 0; i < q.n; i++)
		ids[i] = (uint32_t)(7 * i % b->model->config.vocab);
	if (sq_batcher_submit(b->engine, &q, err) == 0 ||
	    sq_batcher_run(b->engine, err) < 0)
		return -1;
	if (s.failed || s.u.made < 2)
		return sq_fail(err, "the model gives no answer to measure");
	*ttft = 1e3 * (s.u.first - s.u.start);
	*tps = (double)(s.u.made - 1) / (s.u.last - s.u.first);
	return 0;
}

/* What the weights are stored in, and the cache. */
static json_t *
precisions(const struct sq_runner *b)
{
	const struct sq_source *s = b->model->source;
	int seen[SQ_GRIDS] = { 0 };
	json_t *list = json_array();
	size_t i;

	json_array_append_new(list, json_string(b->how.prec == SQ_PREC_F32 ?
	    "fp32" : "bf16"));
	for (i = 0; list != NULL && i < s->n; i++) {
		enum sq_grid g = s->tensor[i].t.grid;

		if (g == SQ_DENSE || g >= SQ_GRIDS || seen[g]++)
			continue;
		json_array_append_new(list, json_string(sq_grid_name(g)));
	}
	return list;
}

/* Adds what a mask drops of its tensor, in weights. */
static int
add_dropped(struct sq_source *s, const struct sq_source_tensor *t,
    double *dropped, char *err)
{
	const struct sq_part *mask = sq_tensor_part(&t->t, "mask");
	struct sq_mask_seen seen = { .kept = 0 };
	double all = (double)sq_tensor_count(&t->t);
	struct sq_stored_work k;
	const void *p;

	if (t->stored.layout != SQ_ROWS) {
		sq_stored_count(&t->stored, &k);
		*dropped += all * (1 - (double)k.done / (double)k.all);
		return 0;
	}
	if ((p = sq_source_map(s, t, (int)(mask - t->t.part), err)) == NULL)
		return -1;
	sq_mask_seen_add(&seen, p, (size_t)mask->length);
	*dropped += all - (double)seen.kept;
	return 0;
}

/* The patterns of the masks, and the part of the masked weights that they drop.
 * NULL with the reason. */
static json_t *
sparsity(const struct sq_runner *b, double *ratio, char *err)
{
	struct sq_source *s = b->model->source;
	const struct sq_source_tensor *t;
	double dropped = 0, all = 0;
	json_t *set = json_object(), *list = json_array();
	char text[SQ_SPARSE_TEXT];
	const char *key;
	json_t *v;

	for (t = s->tensor; t < s->tensor + s->n; t++) {
		if (sq_tensor_part(&t->t, "mask") == NULL)
			continue;
		all += (double)sq_tensor_count(&t->t);
		json_object_set_new(set, t->t.sparse.kind == SQ_MASK_NONE ?
		    "unstructured" : sq_sparse_text(&t->t.sparse, text),
		    json_true());
		if (add_dropped(s, t, &dropped, err) < 0) {
			json_decref(set);
			json_decref(list);
			return NULL;
		}
	}
	json_object_foreach(set, key, v)
		json_array_append_new(list, json_string(key));
	json_decref(set);
	*ratio = all > 0 ? dropped / all : 0;
	return list;
}

json_t *
sq_capability(struct sq_runner *b, const char *instance, int measured,
    char *err)
{
	const struct sq_config *c = &b->model->config;
	const struct sq_kvcache *cache = sq_batcher_cache(b->engine);
	uint64_t need = sq_kvcache_predict(cache, 1, b->how.context,
	    SQ_BATCHER_CHUNK);
	double ttft = 0, tps = 0, ratio;
	json_t *patterns;
	size_t batch = (size_t)(b->how.memory / (need + 1));
	json_t *j;

	if (measured && measure(b, &ttft, &tps, err) < 0)
		return NULL;
	if ((patterns = sparsity(b, &ratio, err)) == NULL)
		return NULL;
	batch = batch < 1 ? 1 : batch < b->how.seqs ? batch : b->how.seqs;
	j = json_pack("{s:s, s:s, s:s, s:I, s:I, s:f, s:o, s:o, s:o, s:s?, "
	    "s:f, s:f, s:f, s:s, s:b, s:o}", "backend_name", "sq", "instance_type",
	    instance, "hardware_backend", "cpu", "max_batch_size",
	    (json_int_t)batch, "max_sequence_length",
	    (json_int_t)b->how.context, "kv_cache_capacity_gb",
	    (double)b->how.memory / GB, "supported_precisions",
	    precisions(b), "kv_schema", sq_kv_schema(c, &cache->policy),
	    "kv_quant_schema", sq_kv_quant_schema(c, &cache->policy),
	    "quant_profile_id", b->profile[0] == '\0' ? NULL :
	    b->profile, "sparsity_ratio", ratio, "throughput_hint_tps",
	    tps, "ttft_hint_ms", ttft, "model_digest", b->digest,
	    "sparse_masks", json_array_size(patterns) > 0,
	    "sparsity_patterns", patterns);
	if (j == NULL)
		sq_fail(err, "out of memory");
	return j;
}
