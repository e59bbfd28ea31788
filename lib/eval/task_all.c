/* Several tasks, several models; see task_all.h. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "eval/task_all.h"
#include "model/files.h"

#define SETTINGS	(256 + SQ_KV_TEXT)

int
sq_tasks_want(struct sq_tasks *t, const char *text, char *err)
{
	const char *path = strchr(text, '=');
	size_t k, len = path == NULL ? 0 : (size_t)(path - text);

	if (t->n == SQ_MAX_TASKS)
		return sq_fail(err, "more than %d", SQ_MAX_TASKS);
	for (k = 0; sq_task_kinds[k] != NULL; k++)
		if (strlen(sq_task_kinds[k]) == len &&
		    strncmp(sq_task_kinds[k], text, len) == 0)
			break;
	if (path == NULL || sq_task_kinds[k] == NULL || path[1] == '\0')
		return sq_fail(err, "'%s': not KIND=FILE", text);
	t->want[t->n].kind = (enum sq_task_kind)k;
	t->want[t->n++].path = path + 1;
	return 0;
}

/* The items of task i; those of a file are the same for all models. */
static int
items(struct sq_tasks *t, size_t i, const struct sq_tokenizer *tok, char *err)
{
	const char *path = t->want[i].path;
	size_t len;
	char *hay;
	int r;

	if (t->task[i].n > 0)
		return 0;
	if (t->want[i].kind != SQ_NEEDLE) {
		r = sq_task_read(&t->task[i], t->want[i].kind, path,
		    &t->options, err);
	} else {
		hay = sq_read_file(AT_FDCWD, path, (size_t)1 << 30, &len, err);
		if (hay == NULL)
			return -1;
		r = sq_needle_make(&t->task[i], hay, len, tok, &t->options,
		    err);
		free(hay);
	}
	return r < 0 ? -1 : sq_task_cut(&t->task[i], &t->options.shard, err);
}

/* What decides on the outcomes besides the model. */
static void
say_settings(const struct sq_tasks *t, int baseline, char text[SETTINGS])
{
	char kv[SQ_KV_TEXT];
	int n;

	n = snprintf(text, SETTINGS, "precision=%s bos=%d shots=%zu limit=%zu "
	    "make=%zu seed=%ju", t->prec == SQ_PREC_F32 ? "f32" : "bf16",
	    t->bos, t->options.shots, t->options.limit, t->options.make,
	    (uintmax_t)t->options.seed);
	if (t->special)
		n += snprintf(text + n, SETTINGS - (size_t)n, " special=1");
	if (baseline)
		return;
	if (t->kv != NULL) {
		sq_kv_policy_text(t->kv, kv);
		n += snprintf(text + n, SETTINGS - (size_t)n, " kv=%s", kv);
	}
	if (t->act != NULL)
		n += snprintf(text + n, SETTINGS - (size_t)n, " act=%.16s",
		    t->act);
	if (t->attention != NULL)
		snprintf(text + n, SETTINGS - (size_t)n, " attention=%.48s",
		    t->attention);
}

static int
ask(struct sq_tasks *t, size_t i, struct sq_task_run *run,
    struct sq_task_report *r, char *err)
{
	int ret;

	if (items(t, i, run->tok, err) < 0)
		return -1;
	r->task = &t->task[i];
	if (sq_task_report_init(r, t->items, err) < 0)
		return -1;
	run->each = sq_task_report_add;
	run->arg = r;
	if (t->progress != NULL) {
		t->progress->bytes = t->task[i].n - r->done;
		t->progress->done = 0;
	}
	ret = sq_task_ask(run, &t->task[i], r->done, err);
	if (t->progress != NULL)
		sq_progress_end(t->progress);
	if (ret == 0)
		sq_task_report_rows(r, t->have_base ? &t->base[i] : NULL);
	return ret;
}

int
sq_tasks_model(struct sq_tasks *t, const struct sq_model *m, const char *name,
    int keep, char *err)
{
	uint32_t eos[SQ_MAX_EOS];
	struct sq_task_run run = { .ctx = t->ctx, .model = m, .prec = t->prec,
	    .kv = keep ? NULL : t->kv, .bos = t->bos,
	    .special = t->special, .eos = eos,
	    .batch = t->batch, .progress = t->progress, .seen = t->seen };
	struct sq_tokenizer *tok;
	struct sq_task_report r;
	char digest[SQ_DIGEST], settings[SETTINGS];
	size_t i;
	int ret = 0;

	if ((tok = sq_files_tokenizer(&m->source->files, err)) == NULL)
		return sq_fail(err, "'%s': %s", name, err);
	run.tok = tok;
	run.neos = sq_files_eos(&m->source->files, &m->config, eos);
	sq_source_identity(m->source, digest);
	say_settings(t, keep, settings);
	for (i = 0; ret == 0 && i < t->n; i++) {
		r = (struct sq_task_report){ .out = t->out, .csv = t->csv,
		    .model = name, .digest = digest, .settings = settings };
		ret = ask(t, i, &run, &r, err);
		if (ret == 0 && keep)
			t->base[i] = r;
		else
			sq_task_report_release(&r);
	}
	t->have_base |= ret == 0 && keep;
	sq_tokenizer_free(tok);
	return ret;
}

void
sq_tasks_release(struct sq_tasks *t)
{
	size_t i;

	for (i = 0; i < t->n; i++) {
		if (t->have_base)
			sq_task_report_release(&t->base[i]);
		sq_task_release(&t->task[i]);
	}
}
