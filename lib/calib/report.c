/* What calibration has seen; see report.h. */
#include <stdlib.h>
#include <string.h>

#include "calib/report.h"
#include "formats/fmt_csv.h"

void
sq_calib_report_release(struct sq_calib_report *r)
{
	sq_text_report_release(&r->text);
	free(r->input);
	r->input = NULL;
	r->n = 0;
}

void
sq_calib_report_add(struct sq_calib_report *r, const struct sq_stats *s)
{
	struct sq_calib_idle *more, *i;
	uint64_t c;

	if (s->is_kv)
		return;
	if ((r->n & (r->n + 1)) == 0) {		/* 0, 1, 3, 7 ... are full */
		more = realloc(r->input, (2 * r->n + 1) * sizeof(*more));
		if (more == NULL) {
			r->failed = 1;
			return;
		}
		r->input = more;
	}
	i = &r->input[r->n++];
	memcpy(i->tensor, s->tensor[0], sizeof(i->tensor));
	i->channels = s->channels;
	i->idle = 0;
	for (c = 0; c < s->channels; c++)
		i->idle += s->min[c] == 0 && s->max[c] == 0;
}

uint64_t
sq_calib_report_idle(const struct sq_calib_report *r)
{
	uint64_t most = 0;
	size_t i;

	for (i = 0; i < r->n; i++)
		if (r->input[i].idle > most)
			most = r->input[i].idle;
	return most;
}

static void
put(FILE *f, const char *what, const char *name, uint64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "%ju", (uintmax_t)value);
	sq_csv_field(f, 1, what);
	sq_csv_field(f, 0, name);
	sq_csv_field(f, 0, text);
	fputs("\r\n", f);
}

void
sq_calib_report_write(const struct sq_calib_report *r, FILE *f)
{
	static const char *const kinds[] = { "text", "lines", "chat",
	    "tokens" };
	const struct sq_corpus *c = &r->text.corpus;
	char name[24];
	size_t i;

	fputs("what,name,value\r\n", f);
	put(f, "documents", kinds[c->kind], c->n);
	put(f, "duplicates", "", c->duplicates);
	put(f, "tokens", "all", r->text.total);
	put(f, "tokens", "taken", r->taken);
	put(f, "tokens", "sample", r->length);
	put(f, "tokens", "bos", r->text.bos);
	for (i = 0; i < c->n; i++) {
		snprintf(name, sizeof(name), "%zu", i + 1);
		put(f, "document", name, r->text.tokens[i]);
	}
	for (i = 0; i < r->n; i++)
		put(f, "idle", r->input[i].tensor, r->input[i].idle);
}

void
sq_calib_tokens_write(const struct sq_tokens *t, FILE *f)
{
	uint64_t i;

	fprintf(f, "{\"tokenizer\":\"%s\",\"source\":\"%s\"}\n",
	    t->tokenizer, t->source);
	for (i = 0; i < t->count; i++)
		fprintf(f, "%s%u%s", i % t->length == 0 ? "{\"ids\":[" : ",",
		    t->id[i], (i + 1) % t->length == 0 ? "]}\n" : "");
}
