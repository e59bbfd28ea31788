/* What a machine costs: a CSV file with a header line and one row. */
#ifndef SQ_REPORT_PRICE_H
#define SQ_REPORT_PRICE_H

#include "base/err.h"

struct sq_price {
	double per_hour;
	char currency[16];
};

/* 0, or -1 with the reason. */
int	 sq_price_read(struct sq_price *, const char *path, char *err);

/* Of a million tokens, where so many come in a second. */
double	 sq_price_of_million(const struct sq_price *, double rate);

#endif
