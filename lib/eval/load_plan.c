/* Who comes when, and with which prompt; see load.h. */
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/rng.h"
#include "eval/load.h"
#include "formats/fmt_csv.h"

#define MAX_FILE	((size_t)1 << 30)
#define MAX_TOKENS	((size_t)1 << 24)	/* of a prompt or an answer */
#define BYTES		4		/* of a token, where none can count */

const char *const sq_arrivals[] = { "poisson", "fixed", "trace", NULL };

/* Lengths are named so here and in the traces that others publish. */
static int
column(const struct sq_csv *csv, const char *name, const char *other)
{
	int c = sq_csv_column(csv, name);

	return c >= 0 ? c : sq_csv_column(csv, other);
}

static int
length(const char *field, size_t *v)
{
	char *end;
	unsigned long long n = strtoull(field, &end, 10);

	if (*field < '0' || *field > '9' || *end != '\0' || n == 0 ||
	    n > MAX_TOKENS)
		return -1;
	*v = (size_t)n;
	return 0;
}

static int
row(struct sq_load *l, const struct sq_csv *csv, size_t i, const int c[3],
    char *err)
{
	const struct sq_csv_row *r = &csv->row[i + 1];
	struct sq_load_request *q = &l->request[i];
	char *end;

	if (r->n != csv->row[0].n)
		return sq_fail(err, "line %zu has %zu fields, not %zu", i + 2,
		    r->n, csv->row[0].n);
	if (length(r->field[c[0]], &q->prompt) < 0 ||
	    length(r->field[c[1]], &q->generate) < 0)
		return sq_fail(err, "line %zu: lengths are numbers of tokens",
		    i + 2);
	if (l->how.arrival != SQ_TRACE)
		return 0;
	q->due = strtod(r->field[c[2]], &end);
	if (*end != '\0' || !(q->due >= 0) || !isfinite(q->due) ||
	    (i > 0 && q->due < q[-1].due))
		return sq_fail(err, "line %zu: '%s' is not a time after those "
		    "before", i + 2, r->field[c[2]]);
	return 0;
}

static int
read_trace(struct sq_load *l, char *err)
{
	const char *path = l->how.trace;
	struct sq_csv csv;
	size_t len, i;
	char *text;
	int c[3], r = 0;

	if ((text = sq_read_file(AT_FDCWD, path, MAX_FILE, &len, err)) == NULL)
		return -1;
	r = sq_csv_parse(&csv, text, len, err);
	free(text);
	if (r < 0)
		return sq_fail(err, "'%s': %s", path, err);
	c[0] = column(&csv, "prompt", "ContextTokens");
	c[1] = column(&csv, "generate", "GeneratedTokens");
	c[2] = sq_csv_column(&csv, "arrival");
	if (csv.n < 2 || c[0] < 0 || c[1] < 0)
		r = sq_fail(err, "not a header line with prompt and generate, "
		    "and rows");
	else if (l->how.arrival == SQ_TRACE && c[2] < 0)
		r = sq_fail(err, "no column 'arrival'");
	l->n = csv.n - 1;
	if (l->how.requests > 0 && l->how.requests < l->n)
		l->n = l->how.requests;
	if (r == 0 && (l->request = calloc(l->n, sizeof(*l->request))) == NULL)
		r = sq_fail(err, "out of memory");
	for (i = 0; r == 0 && i < l->n; i++)
		r = row(l, &csv, i, c, err);
	sq_csv_release(&csv);
	return r < 0 ? sq_fail(err, "'%s': %s", path, err) : 0;
}

static int
same_lengths(struct sq_load *l, char *err)
{
	size_t i;

	l->n = l->how.requests == 0 ? 32 : l->how.requests;
	if ((l->request = calloc(l->n, sizeof(*l->request))) == NULL)
		return sq_fail(err, "out of memory");
	for (i = 0; i < l->n; i++) {
		l->request[i].prompt = l->how.prompt;
		l->request[i].generate = l->how.generate;
	}
	return 0;
}

static void
arrivals(struct sq_load *l, struct sq_rng *rng)
{
	double t = 0;
	size_t i;

	if (l->how.arrival == SQ_TRACE)
		return;
	for (i = 0; l->how.rate > 0 && i < l->n; i++) {
		l->request[i].due = t;
		t += (l->how.arrival == SQ_FIXED ? 1 :
		    -log1p(-sq_rng_uniform(rng))) / l->how.rate;
	}
}

/* n of `all' things from a random place on, or from the start on where there
 * are fewer; the caller goes around. */
static size_t
place(struct sq_rng *rng, size_t all, size_t n)
{
	return all > n ? (size_t)(sq_rng_next(rng) % (all - n + 1)) : 0;
}

static int
cut_ids(struct sq_load_request *q, const struct sq_ids *all, size_t vocab,
    struct sq_rng *rng)
{
	size_t i, at = place(rng, all->n, q->prompt);

	if ((q->ids = malloc(q->prompt * sizeof(*q->ids))) == NULL)
		return -1;
	for (i = 0; i < q->prompt; i++)
		q->ids[i] = all->n > 0 ? all->id[(at + i) % all->n] :
		    (uint32_t)(sq_rng_next(rng) % vocab);
	return 0;
}

/* About as many tokens, beginning and ending with a whole character. */
static int
cut_text(struct sq_load_request *q, const char *text, size_t len,
    struct sq_rng *rng)
{
	size_t n = q->prompt * BYTES < len ? q->prompt * BYTES : len;
	size_t at = place(rng, len, n);

	while (at > 0 && ((unsigned char)text[at] & 0xc0) == 0x80)
		at--;
	while (at + n < len && ((unsigned char)text[at + n] & 0xc0) == 0x80)
		n++;
	return (q->text = strndup(text + at, n)) == NULL ? -1 : 0;
}

static int
prompts(struct sq_load *l, const struct sq_tokenizer *tok, size_t vocab,
    struct sq_rng *rng, char *err)
{
	struct sq_ids ids = { 0 };
	char *text = NULL;
	size_t len = 0, i;
	int r = 0;

	if (l->how.text != NULL && (text = sq_read_file(AT_FDCWD, l->how.text,
	    MAX_FILE, &len, err)) == NULL)
		return -1;
	if (text != NULL && tok != NULL)
		r = sq_tokenizer_encode(tok, text, len, 0, &ids, err);
	if (r == 0 && text != NULL && (tok == NULL ? len : ids.n) == 0)
		r = sq_fail(err, "'%s': no text", l->how.text);
	for (i = 0; r == 0 && i < l->n; i++)
		if ((text != NULL && tok == NULL ? cut_text(&l->request[i],
		    text, len, rng) : cut_ids(&l->request[i], &ids, vocab,
		    rng)) < 0)
			r = sq_fail(err, "out of memory");
	sq_ids_release(&ids);
	free(text);
	return r;
}

int
sq_load_plan(struct sq_load *l, const struct sq_load_how *how,
    const struct sq_tokenizer *tok, size_t vocab, char *err)
{
	struct sq_rng rng = { how->seed };

	memset(l, 0, sizeof(*l));
	l->how = *how;
	if ((how->trace == NULL ? same_lengths(l, err) : read_trace(l,
	    err)) < 0)
		return -1;
	arrivals(l, &rng);
	return prompts(l, tok, vocab, &rng, err);
}

void
sq_load_release(struct sq_load *l)
{
	size_t i;

	for (i = 0; l->request != NULL && i < l->n; i++) {
		free(l->request[i].ids);
		free(l->request[i].text);
	}
	for (i = 0; l->gap != NULL && i < l->n; i++)
		sq_series_release(&l->gap[i]);
	sq_series_release(&l->itl);
	free(l->request);
	free(l->gap);
	free(l->second);
}
