/* What filters have in common; see filter.h. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "formats/fmt_records.h"
#include "model/import.h"
#include "quant/filter.h"

int
sq_filter_option(struct sq_filter *f, int c, const char *arg)
{
	switch (c) {
	case 'm':
		f->model = arg;
		return 1;
	case 'z':
		f->compress = 1;
		return 1;
	case 'p':
		f->profile_name = arg;
		return 1;
	case SQ_FILTER_EXCEPT:
		return sq_select_except(&f->select, arg) < 0 ? -1 : 1;
	case SQ_FILTER_ONLY:
		return sq_select_only(&f->select, arg) < 0 ? -1 : 1;
	}
	return 0;
}

int
sq_filter_open(struct sq_filter *f, const char *version)
{
	int fd = STDIN_FILENO;

	if (f->profile_name != NULL) {
		if (sq_profile_load(&f->profile, f->profile_name, f->err) < 0)
			return -1;
		f->rules.profile = f->select.profile = &f->profile;
		f->act = sq_rule_act(&f->profile);
		if (f->act.scale != 0)	/* static: sq-act has set it */
			f->act = (struct sq_act){ .kind = SQ_ACT_NONE };
	}
	f->name = f->model == NULL || strcmp(f->model, "-") == 0 ? "stdin" :
	    f->model;
	if (f->model != NULL &&
	    (fd = sq_import_pipe(f->model, version, f->err)) < 0)
		return -1;
	if (sq_in_open(&f->in, fd) < 0)
		return sq_fail(f->err, "%s: %s", f->name, f->in.err);
	if (sq_out_open(&f->out, STDOUT_FILENO, f->compress) < 0)
		return sq_fail(f->err, "stdout: %s", f->out.err);
	return 0;
}

void
sq_filter_release(struct sq_filter *f)
{
	sq_in_release(&f->in);
	sq_out_release(&f->out);
	sq_inventory_release(&f->inv);
	sq_profile_release(&f->profile);
}

int
sq_filter_key(const struct sq_filter *f, FILE *to)
{
	const struct sq_qrule *rule = &f->rules.usual;
	const struct sq_select *select = &f->select;
	char *profile = f->rules.profile == NULL ? NULL :
	    sq_profile_text(f->rules.profile);
	int i;

	if (profile == NULL && f->rules.profile != NULL)
		return -1;
	fprintf(to, "%s %d %d %d %zu %u %s", f->digest, (int)rule->grid,
	    (int)rule->scale, rule->symmetric, rule->group_cols,
	    f->rules.given, profile == NULL ? "" : profile);
	for (i = 0; i < select->nonly; i++)
		fprintf(to, "\n+%s", select->only[i]);
	for (i = 0; i < select->nexcept; i++)
		fprintf(to, "\n-%s", select->except[i]);
	fputc('\n', to);
	free(profile);
	return 0;
}

struct sq_qrule
sq_filter_rule(const struct sq_filter *f, const struct sq_tensor *t,
    const struct sq_slot *slot)
{
	return sq_rule(&f->rules, t->name, slot != NULL && slot->linear);
}

int
sq_filter_copy(struct sq_filter *f)
{
	if (sq_out_copy(&f->out, &f->in) < 0)
		return sq_fail(f->err, "%s", f->out.err);
	return 0;
}

int
sq_filter_wants(struct sq_filter *f, const struct sq_tensor *t,
    const struct sq_slot *slot)
{
	if (!sq_select(&f->select, t, slot))
		return 0;
	if (t->grid == SQ_DENSE && sq_dtype_is_float(t->type))
		return 1;
	return sq_fail(f->err, "tensor '%s': is %s already", t->name,
	    t->grid == SQ_DENSE ? sq_dtype_name(t->type) : "quantized");
}

static int
header(struct sq_filter *f)
{
	const unsigned char *config;
	struct sq_files files;
	char why[SQ_ERR];
	size_t size;
	int r = -1;

	if (sq_files_read(&files, &f->in) < 0)
		return sq_fail(f->err, "%s: %s", f->name, f->in.err);
	config = sq_files_find(&files, "config.json", &size);
	memcpy(f->digest, files.h.model, sizeof(f->digest));
	f->progress->tensors = files.h.tensors;
	f->progress->bytes = files.h.bytes;
	if (sq_inventory_init(&f->inv, (const char *)config, size, why) < 0)
		sq_fail(f->err, "%s: %s", f->name, why);
	else if (f->header == NULL &&
	    sq_files_write(&files, &f->out) < 0)
		sq_fail(f->err, "stdout: %s", f->out.err);
	else if (f->header == NULL || f->header(f, &files) == 0)
		r = f->begin == NULL ? 0 : f->begin(f);
	sq_files_release(&files);
	return r;
}

static int
tensor(struct sq_filter *f)
{
	const struct sq_slot *slot;
	struct sq_tensor t;
	char why[SQ_ERR];

	sq_progress_tensor(f->progress);
	if (sq_tensor_parse(&t, f->in.desc, f->in.length, why) < 0 ||
	    sq_inventory_add(&f->inv, &t, &slot, why) < 0)
		return sq_fail(f->err, "%s: %s", f->name, why);
	if (f->rules.profile != NULL && slot != NULL && slot->linear &&
	    t.act.kind == SQ_ACT_NONE)
		t.act = f->act;
	return f->tensor(f, &t, slot);
}

static int
record(struct sq_filter *f)
{
	if (f->in.type == SQ_HEADER)
		return header(f);
	if (f->in.type == SQ_TENSOR)
		return tensor(f);
	return f->record == NULL ? sq_filter_copy(f) : f->record(f);
}

int
sq_filter_run(struct sq_filter *f)
{
	int r;

	while ((r = sq_in_next(&f->in)) > 0)
		if (record(f) < 0)
			return -1;
	if (r < 0)
		return sq_fail(f->err, "%s: %s", f->name, f->in.err);
	if (f->end != NULL && f->end(f) < 0)
		return -1;
	if (sq_select_unused(&f->select) != NULL)
		return sq_fail(f->err, "--only '%s': no such tensor",
		    sq_select_unused(&f->select));
	return 0;
}

/* f's input passes `first', and goes to fd. */
static int
pass_first(struct sq_filter *f, struct sq_filter *first, int fd)
{
	struct sq_progress quiet = { 0 };
	int r = -1;

	first->in = f->in;
	first->select = f->select;
	first->name = f->name;
	first->progress = &quiet;
	if (sq_out_open(&first->out, fd, 0) < 0)
		sq_fail(f->err, "temporary file: %s", first->out.err);
	else if (sq_filter_run(first) < 0)
		memcpy(f->err, first->err, sizeof(f->err));
	else if (sq_out_finish(&first->out) < 0)
		sq_fail(f->err, "temporary file: %s", first->out.err);
	else
		r = 0;
	sq_filter_release(first);
	memset(&f->in, 0, sizeof(f->in));
	return r;
}

int
sq_filter_survey(struct sq_filter *f, struct sq_filter *first)
{
	int fd = sq_temp_file();

	if (fd < 0)
		return sq_fail_errno(f->err, "temporary file");
	if (pass_first(f, first, fd) < 0)
		return -1;
	if (lseek(fd, 0, SEEK_SET) < 0)
		return sq_fail_errno(f->err, "temporary file");
	if (sq_in_open(&f->in, fd) < 0)
		return sq_fail(f->err, "temporary file: %s", f->in.err);
	return 0;
}

static json_t *
globs(const char *const *glob, int n)
{
	json_t *a = json_array();
	int i;

	for (i = 0; i < n; i++)
		json_array_append_new(a, json_string(glob[i]));
	return a;
}

/* The same object with its keys in order. */
static json_t *
sorted(json_t *o)
{
	char *text = json_dumps(o, JSON_SORT_KEYS | JSON_REAL_PRECISION(17));
	json_t *s = text == NULL ? NULL : json_loads(text, 0, NULL);

	json_decref(o);
	free(text);
	return s;
}

int
sq_filter_finish(struct sq_filter *f, const char *tool, const char *version,
    json_t *options, const char *kernel)
{
	const struct sq_select *s = &f->select;

	json_object_set_new(options, "except", globs(s->except, s->nexcept));
	json_object_set_new(options, "only", globs(s->only, s->nonly));
	if (sq_rule_provenance(&f->rules, options) < 0)
		return sq_fail(f->err, "out of memory");
	if ((options = sorted(options)) == NULL)
		return sq_fail(f->err, "out of memory");
	if (sq_out_provenance(&f->out, tool, version, options, kernel,
	    f->in.digest) < 0 || sq_out_finish(&f->out) < 0)
		return sq_fail(f->err, "stdout: %s", f->out.err);
	return 0;
}
