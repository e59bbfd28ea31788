/* CSV; see fmt_csv.h. */
#include <csv.h>
#include <stdlib.h>
#include <string.h>

#include "formats/fmt_csv.h"

void
sq_csv_field(FILE *f, int first, const char *s)
{
	if (!first)
		putc(',', f);
	if (strpbrk(s, ",\"\r\n") == NULL) {
		fputs(s, f);
		return;
	}
	putc('"', f);
	for (; *s != '\0'; s++) {
		if (*s == '"')
			putc('"', f);
		putc(*s, f);
	}
	putc('"', f);
}

struct reader {
	struct sq_csv *t;
	struct sq_csv_row row;		/* growing */
	int failed;
};

/* Arrays grow when their length is a power of two. */
static void *
grown(void *p, size_t n, size_t size)
{
	if ((n & (n - 1)) != 0)
		return p;
	return realloc(p, (n == 0 ? 1 : 2 * n) * size);
}

static void
on_field(void *s, size_t n, void *arg)
{
	struct reader *r = arg;
	char *copy = malloc(n + 1);
	char **p = grown(r->row.field, r->row.n, sizeof(*p));

	if (p != NULL)
		r->row.field = p;
	if (copy == NULL || p == NULL) {
		free(copy);
		r->failed = 1;
		return;
	}
	memcpy(copy, s, n);
	copy[n] = '\0';
	r->row.field[r->row.n++] = copy;
}

static void
on_row(int c, void *arg)
{
	struct reader *r = arg;
	struct sq_csv_row *p = grown(r->t->row, r->t->n, sizeof(*p));

	(void)c;
	if (p == NULL) {
		r->failed = 1;
		return;
	}
	r->t->row = p;
	r->t->row[r->t->n++] = r->row;
	r->row = (struct sq_csv_row){ NULL, 0 };
}

static void
row_release(struct sq_csv_row *row)
{
	size_t i;

	for (i = 0; i < row->n; i++)
		free(row->field[i]);
	free(row->field);
}

int
sq_csv_parse(struct sq_csv *t, const char *text, size_t len, char *err)
{
	struct reader r = { .t = t };
	struct csv_parser p;

	memset(t, 0, sizeof(*t));
	if (csv_init(&p, CSV_STRICT | CSV_STRICT_FINI) != 0)
		return sq_fail(err, "out of memory");
	if (csv_parse(&p, text, len, on_field, on_row, &r) != len ||
	    csv_fini(&p, on_field, on_row, &r) != 0)
		sq_fail(err, "row %zu: %s", t->n + 1,
		    csv_strerror(csv_error(&p)));
	else if (r.failed)
		sq_fail(err, "out of memory");
	else {
		csv_free(&p);
		return 0;
	}
	csv_free(&p);
	row_release(&r.row);
	sq_csv_release(t);
	return -1;
}

void
sq_csv_release(struct sq_csv *t)
{
	size_t i;

	for (i = 0; i < t->n; i++)
		row_release(&t->row[i]);
	free(t->row);
	t->row = NULL;
	t->n = 0;
}

int
sq_csv_column(const struct sq_csv *t, const char *name)
{
	size_t i;

	for (i = 0; t->n > 0 && i < t->row[0].n; i++)
		if (strcmp(t->row[0].field[i], name) == 0)
			return (int)i;
	return -1;
}
