/*
 * What all tools share: options, diagnostics, exit codes.  For bin/ only: it
 * prints and exits, and is not part of libsq.
 */
#ifndef SQ_BASE_TOOL_H
#define SQ_BASE_TOOL_H

#include <getopt.h>
#include <stdint.h>

#include "base/err.h"
#include "base/progress.h"

#define SQ_VERSION	"0.1.0"

enum { SQ_OK, SQ_EDATA, SQ_EUSAGE };	/* exit codes */

/* The options that every tool has, filled in by sq_tool_option(). */
struct sq_tool {
	const char *name, *usage;
	int verbose, quiet;
	int threads;			/* 0: all processors */
	uint64_t memory;		/* bytes; 0: no ceiling */
	const char *kernel;		/* "auto" */
};

extern struct sq_tool sq_tool;

#define SQ_SHORT	"hVvqj:M:k:"
#define SQ_LONG								\
	{ "help", no_argument, NULL, 'h' },				\
	{ "version", no_argument, NULL, 'V' },				\
	{ "verbose", no_argument, NULL, 'v' },				\
	{ "quiet", no_argument, NULL, 'q' },				\
	{ "threads", required_argument, NULL, 'j' },			\
	{ "memory", required_argument, NULL, 'M' },			\
	{ "kernel", required_argument, NULL, 'k' }

/* Values for options that have a long form only. */
#define SQ_OPT(n)	(256 + (n))

/* usage: the synopsis without the name, one line for each form. */
void	 sq_tool_init(const char *argv0, const char *usage);

/* One of the common options, or a usage error. */
void	 sq_tool_option(int c);

/* "tool: reason" on standard error, and out. */
_Noreturn void sq_die(int status, const char *fmt, ...)
	    __attribute__((format(printf, 2, 3)));
_Noreturn void sq_usage(void);

/* "tool: ..." on standard error: always; only with -v. */
void	 sq_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void	 sq_note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Numbers in arguments; a usage error names the option. */
long	 sq_arg_long(const char *option, const char *arg, long lo, long hi);
double	 sq_arg_real(const char *option, const char *arg, double lo,
	    double hi);
uint64_t sq_arg_bytes(const char *option, const char *arg);	/* 100M, 2G */

/* The choice's place in a list of names that ends with NULL. */
int	 sq_arg_choice(const char *option, const char *arg,
	    const char *const *names);

/* Standard output will carry a stream: not to a terminal. */
void	 sq_need_pipe(void);

/* What messages call an input: its path, or "stdin" for "-" and NULL. */
const char *sq_input_name(const char *path);

/* For struct sq_ctx: a slower kernel has stepped in. */
void	 sq_tool_fell(const char *op, const char *from, const char *to);

/* The progress line of this tool: silent with -q. */
void	 sq_tool_progress(struct sq_progress *);

/* Standard output, flushed and checked: the last call of a tool that prints. */
void	 sq_flush(void);

#endif
