/* Price files; see price.h. */
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/io.h"
#include "formats/fmt_csv.h"
#include "report/price.h"

#define MAX_FILE	((size_t)1 << 20)

static int
take(struct sq_price *p, const struct sq_csv *csv, char *err)
{
	int price = sq_csv_column(csv, "per_hour");
	int currency = sq_csv_column(csv, "currency");
	char *end;

	if (csv->n < 2 || price < 0 || currency < 0 || csv->row[1].n !=
	    csv->row[0].n)
		return sq_fail(err, "not a header line with per_hour and "
		    "currency, and a row");
	p->per_hour = strtod(csv->row[1].field[price], &end);
	if (*end != '\0' || !(p->per_hour > 0) || !isfinite(p->per_hour))
		return sq_fail(err, "'%s' is no price",
		    csv->row[1].field[price]);
	snprintf(p->currency, sizeof(p->currency), "%s",
	    csv->row[1].field[currency]);
	return 0;
}

int
sq_price_read(struct sq_price *p, const char *path, char *err)
{
	struct sq_csv csv;
	size_t len;
	char *text;
	int r;

	if ((text = sq_read_file(AT_FDCWD, path, MAX_FILE, &len, err)) == NULL)
		return -1;
	if ((r = sq_csv_parse(&csv, text, len, err)) == 0) {
		r = take(p, &csv, err);
		sq_csv_release(&csv);
	}
	free(text);
	return r < 0 ? sq_fail(err, "'%s': %s", path, err) : 0;
}

double
sq_price_of_million(const struct sq_price *p, double rate)
{
	return p->per_hour / 3600 / rate * 1e6;
}
