/* Measured choices in a file; see dec_table.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "kernels/cuda/dec_table.h"

#define MOST	1024			/* lines */

struct dec_table {
	FILE *f;
	size_t n;
	struct {
		struct dec_product p;
		int choice;
	} line[MOST];
};

int
dec_same_product(const struct dec_product *p, const struct dec_product *q)
{
	return q->rows == p->rows && q->cols == p->cols && q->n == p->n &&
	    q->fp8 == p->fp8 && q->f32 == p->f32 && q->scaled == p->scaled;
}

static const char *const types[] = { "bf16", "fp8" };
static const char *const results[] = { "bf16", "f32" };
static const char *const ends[] = { "bare", "scaled" };

static int
one_of(const char *const names[2], const char *name, int *v)
{
	*v = strcmp(name, names[1]) == 0;
	return *v || strcmp(name, names[0]) == 0;
}

static void
keep(struct dec_table *t, const struct dec_product *p, int choice)
{
	if (t->n == MOST)
		return;
	t->line[t->n].p = *p;
	t->line[t->n++].choice = choice;
}

/* The lines, if they are of the same device; a bad one ends them. */
static int
read_lines(struct dec_table *t, const char *head)
{
	char line[512], type[8], result[8], end[8];
	struct dec_product p;
	int choice;

	if (fgets(line, sizeof(line), t->f) == NULL || strcmp(line, head) != 0)
		return -1;
	while (fgets(line, sizeof(line), t->f) != NULL)
		if (sscanf(line, "%zu %zu %zu %7s %7s %7s %d", &p.rows,
		    &p.cols, &p.n, type, result, end, &choice) == 7 &&
		    one_of(types, type, &p.fp8) &&
		    one_of(results, result, &p.f32) &&
		    one_of(ends, end, &p.scaled) && choice >= 0)
			keep(t, &p, choice);
	return 0;
}

struct dec_table *
dec_table_open(const char *path, const char *of, char *err)
{
	struct dec_table *t = calloc(1, sizeof(*t));
	char head[512];

	snprintf(head, sizeof(head), "# %s\n", of);
	if (t != NULL && (t->f = fopen(path, "r+")) != NULL) {
		if (read_lines(t, head) == 0) {
			(void)fseek(t->f, 0, SEEK_END);
			return t;
		}
		(void)fclose(t->f);
		t->f = NULL;
	}
	if (t != NULL && (t->f = fopen(path, "w+")) != NULL) {
		(void)fputs(head, t->f);
		return t;
	}
	snprintf(err, SQ_ERR, "'%.200s': %s", path, t == NULL ?
	    "out of memory" : strerror(errno));
	free(t);
	return NULL;
}

void
dec_table_close(struct dec_table *t)
{
	if (t == NULL)
		return;
	(void)fclose(t->f);
	free(t);
}

int
dec_table_find(const struct dec_table *t, const struct dec_product *p)
{
	size_t i;

	for (i = 0; i < t->n; i++)
		if (dec_same_product(&t->line[i].p, p))
			return t->line[i].choice;
	return -1;
}

void
dec_table_add(struct dec_table *t, const struct dec_product *p, int choice)
{
	keep(t, p, choice);
	(void)fprintf(t->f, "%zu %zu %zu %s %s %s %d\n", p->rows, p->cols,
	    p->n, types[p->fp8], results[p->f32], ends[p->scaled], choice);
	(void)fflush(t->f);
}
