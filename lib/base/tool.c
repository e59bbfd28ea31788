/* What all tools share; see tool.h. */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/tool.h"

/* What the libraries, the buffers of streams and the small files take. */
#define LEAST_MEMORY	((uint64_t)32 << 20)

struct sq_tool sq_tool = { .kernel = "auto" };

static int line_shown;		/* a progress line may stand there */

/* A file must not be opened as descriptor 0, 1 or 2: messages would go into
 * it.  What was closed stays useless: it is opened the wrong way round. */
static void
fill_standard(void)
{
	int fd;

	for (fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0 && errno == EBADF)
			(void)open("/dev/null", fd == STDIN_FILENO ? O_WRONLY :
			    O_RDONLY);
}

/* Whoever started us may have other ideas: a gone reader ends a stage, a file
 * that may not grow is a failure with a reason. */
static void
set_signals(void)
{
	signal(SIGPIPE, SIG_DFL);
	signal(SIGXFSZ, SIG_IGN);
}

void
sq_tool_init(const char *argv0, const char *usage)
{
	const char *slash = strrchr(argv0, '/');

	fill_standard();
	set_signals();
	sq_tool.name = slash == NULL ? argv0 : slash + 1;
	sq_tool.usage = usage;
	opterr = 0;			/* we say it in our own form */
}

static void
print_usage(FILE *f)
{
	const char *p = sq_tool.usage, *nl;

	for (; (nl = strchr(p, '\n')) != NULL; p = nl + 1)
		fprintf(f, "%s %s %.*s\n", p == sq_tool.usage ? "usage:" :
		    "      ", sq_tool.name, (int)(nl - p), p);
	fprintf(f, "%s %s %s\n", p == sq_tool.usage ? "usage:" : "      ",
	    sq_tool.name, p);
}

void
sq_usage(void)
{
	print_usage(stderr);
	exit(SQ_EUSAGE);
}

static void
say(const char *fmt, va_list ap)
{
	char raw[SQ_ERR], line[SQ_ERR];

	vsnprintf(raw, sizeof(raw), fmt, ap);
	sq_fail(line, "%s", raw);
	fprintf(stderr, "%s%s: %s\n", line_shown ? "\r\033[K" : "",
	    sq_tool.name, line);
}

void
sq_die(int status, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(fmt, ap);
	va_end(ap);
	exit(status);
}

void
sq_warn(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(fmt, ap);
	va_end(ap);
}

void
sq_note(const char *fmt, ...)
{
	va_list ap;

	if (!sq_tool.verbose)
		return;
	va_start(ap, fmt);
	say(fmt, ap);
	va_end(ap);
}

long
sq_arg_long(const char *option, const char *arg, long lo, long hi)
{
	char *end;
	long v;

	errno = 0;
	v = strtol(arg, &end, 10);
	if (*arg == '\0' || *end != '\0' || errno != 0 || v < lo || v > hi)
		sq_die(SQ_EUSAGE, "%s '%s': not a whole number from %ld to "
		    "%ld", option, arg, lo, hi);
	return v;
}

double
sq_arg_real(const char *option, const char *arg, double lo, double hi)
{
	char *end;
	double v = strtod(arg, &end);

	if (*arg == '\0' || *end != '\0' || !(v >= lo && v <= hi))
		sq_die(SQ_EUSAGE, "%s '%s': not a number from %g to %g",
		    option, arg, lo, hi);
	return v;
}

uint64_t
sq_arg_bytes(const char *option, const char *arg)
{
	static const char units[] = "KMGT";
	char *end;
	const char *unit;
	double v = strtod(arg, &end);

	if (end != arg && *end != '\0' &&
	    (unit = strchr(units, *end)) != NULL) {
		v *= pow(1024, (double)(unit - units + 1));
		end++;
	}
	if (end == arg || *end != '\0' || !(v >= 1 && v < 1e18))
		sq_die(SQ_EUSAGE, "%s '%s': not a number of bytes such as "
		    "400M or 2G", option, arg);
	return (uint64_t)v;
}

int
sq_arg_choice(const char *option, const char *arg, const char *const *names)
{
	char list[256] = "";
	size_t n = 0;
	int i;

	for (i = 0; names[i] != NULL; i++) {
		if (strcmp(names[i], arg) == 0)
			return i;
		n += (size_t)snprintf(list + n, sizeof(list) - n, "%s%s",
		    i == 0 ? "" : ", ", names[i]);
	}
	sq_die(SQ_EUSAGE, "%s '%s': not one of %s", option, arg, list);
}

void
sq_tool_option(int c)
{
	switch (c) {
	case 'h':
		print_usage(stdout);
		printf("       see man %s\n", sq_tool.name);
		exit(SQ_OK);
	case 'V':
		printf("%s %s\n", sq_tool.name, SQ_VERSION);
		exit(SQ_OK);
	case 'v':
		sq_tool.verbose = 1;
		break;
	case 'q':
		sq_tool.quiet = 1;
		break;
	case 'j':
		sq_tool.threads = (int)sq_arg_long("-j", optarg, 1, 1024);
		break;
	case 'M':
		sq_tool.memory = sq_arg_bytes("-M", optarg);
		if (sq_tool.memory < LEAST_MEMORY)
			sq_die(SQ_EUSAGE, "-M '%s': less than 32M, which every "
			    "tool needs", optarg);
		break;
	case 'k':
		sq_tool.kernel = optarg;
		break;
	default:
		sq_usage();
	}
}

void
sq_need_pipe(void)
{
	if (isatty(STDOUT_FILENO))
		sq_die(SQ_EUSAGE, "standard output is a terminal: send the "
		    "stream to a file or a pipe");
}

const char *
sq_input_name(const char *path)
{
	return path == NULL || strcmp(path, "-") == 0 ? "stdin" : path;
}

void
sq_tool_fell(const char *op, const char *from, const char *to)
{
	sq_warn("kernel '%s': not of level %s for this case: %s", op, from,
	    to);
}

void
sq_tool_progress(struct sq_progress *p)
{
	sq_progress_start(p, sq_tool.quiet ? -1 : STDERR_FILENO,
	    sq_tool.name);
	line_shown = p->fd >= 0;
}

void
sq_flush(void)
{
	if (fflush(stdout) != 0 || ferror(stdout))
		sq_die(SQ_EDATA, "standard output: %s", strerror(errno));
}
