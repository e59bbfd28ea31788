/* Text in HTML and SVG. */
#ifndef SQ_REPORT_ESCAPE_H
#define SQ_REPORT_ESCAPE_H

#include <stdio.h>

/* Writes s, with entities for what would be markup and '?' for control bytes. */
void	 sq_escape(FILE *, const char *s);

#endif
