/*
 * Errors.  A handle carries `char err[SQ_ERR]`, a function without a handle
 * takes one as its last parameter.  Whoever fails writes one line there and
 * returns -1; only bin/ prints it.
 */
#ifndef SQ_BASE_ERR_H
#define SQ_BASE_ERR_H

#define SQ_ERR	512	/* bytes, the terminating zero included */

/*
 * Formats the reason into err (SQ_ERR bytes) and returns -1.  Control bytes
 * and broken UTF-8 are replaced by '?': names from files are untrusted text.
 * The arguments may point into err itself.
 */
int	 sq_fail(char *err, const char *fmt, ...)
	    __attribute__((format(printf, 2, 3)));

/* The same, with ": " and the text of errno at the end. */
int	 sq_fail_errno(char *err, const char *fmt, ...)
	    __attribute__((format(printf, 2, 3)));

#endif
