/*
 * CSV (RFC 4180).  Read through libcsv; written with quotes only where a field
 * needs them, which libcsv's writer does not do.
 */
#ifndef SQ_FMT_CSV_H
#define SQ_FMT_CSV_H

#include <stddef.h>
#include <stdio.h>

#include "base/err.h"

/* A field, quoted when it must be, after a comma unless it is the first. */
void	 sq_csv_field(FILE *, int first, const char *field);

/* A table in memory: rows of fields, none of them NULL. */
struct sq_csv_row {
	char **field;
	size_t n;
};

struct sq_csv {
	struct sq_csv_row *row;
	size_t n;
};

/* Reads all of a text: 0, or -1 with the reason; strict about quotes. */
int	 sq_csv_parse(struct sq_csv *, const char *text, size_t len, char *err);
void	 sq_csv_release(struct sq_csv *);

/* The column of that name in the first row, or -1. */
int	 sq_csv_column(const struct sq_csv *, const char *name);

#endif
