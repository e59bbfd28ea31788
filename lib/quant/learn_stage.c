/* An sq-distill behind this tool; see learn_stage.h. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"
#include "quant/learn_stage.h"

#define TOOL	"sq-distill"
#define ARGS	24
#define PIECE	((size_t)1 << 20)

/* Standard input as a file that can be read twice: *copy is another
 * descriptor of it. */
static void
keep_input(int *copy)
{
	char *piece;
	struct stat st;
	ssize_t n;
	int fd = STDIN_FILENO;

	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) ||
	    lseek(fd, 0, SEEK_CUR) != 0) {
		if ((piece = malloc(PIECE)) == NULL)
			sq_die(SQ_EDATA, "out of memory");
		if ((fd = sq_temp_file()) < 0)
			sq_die(SQ_EDATA, "TMPDIR: %s", strerror(errno));
		while ((n = sq_read_full(STDIN_FILENO, piece, PIECE)) > 0)
			if (sq_write_full(fd, piece, (size_t)n) < 0)
				sq_die(SQ_EDATA, "TMPDIR: %s",
				    strerror(errno));
		if (n < 0)
			sq_die(SQ_EDATA, "stdin: %s", strerror(errno));
		free(piece);
		if (lseek(fd, 0, SEEK_SET) < 0 || dup2(fd, STDIN_FILENO) < 0)
			sq_die(SQ_EDATA, "stdin: %s", strerror(errno));
		close(fd);
	}
	if ((*copy = dup(STDIN_FILENO)) < 0)
		sq_die(SQ_EDATA, "stdin: %s", strerror(errno));
}

/* The tool beside this one, or else that of PATH. */
static void
run(char *const *args)
{
	char path[PATH_MAX], *slash;
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) -
	    sizeof(TOOL));

	if (n > 0) {
		path[n] = '\0';
		slash = strrchr(path, '/');
		memcpy(slash == NULL ? path : slash + 1, TOOL, sizeof(TOOL));
		execv(path, args);
	}
	execvp(TOOL, args);
	sq_warn("%s: %s", TOOL, strerror(errno));
	_exit(SQ_EDATA);
}

static char *
text(const char *form, long long n)
{
	static char space[6][24];
	static int used;

	snprintf(space[used], sizeof(space[used]), form, n);
	return space[used++];
}

static void
start(const struct sq_learn_stage *l, const struct sq_filter *f,
    const char *teacher)
{
	const char *args[ARGS] = { TOOL, "--train", "codes", "--teacher",
	    teacher, "--steps", text("%lld", l->steps), "--batch",
	    text("%lld", l->batch), "-k", sq_tool.kernel };
	size_t n = 11;

	if (sq_tool.threads > 0) {
		args[n++] = "-j";
		args[n++] = text("%lld", sq_tool.threads);
	}
	if (sq_tool.memory > 0) {
		args[n++] = "-M";
		args[n++] = text("%lld", (long long)sq_tool.memory);
	}
	if (l->state_path != NULL) {
		args[n++] = "--state";
		args[n++] = l->state_path;
	}
	if (l->f32)
		args[n++] = "--f32";
	if (f->compress)
		args[n++] = "-z";
	if (sq_tool.quiet)
		args[n++] = "-q";
	if (sq_tool.verbose)
		args[n++] = "-v";
	run((char *const *)(uintptr_t)args);
}

void
sq_learn_begin(struct sq_learn_stage *l, struct sq_filter *f)
{
	char path[32];
	int fd[2], copy = -1;
	int file = f->model != NULL && strcmp(f->model, "-") != 0;

	if (l->steps == 0)
		return;
	sq_need_pipe();
	if (!file)
		keep_input(&copy);
	snprintf(path, sizeof(path), "/dev/fd/%d", copy);
	if (pipe(fd) < 0 || (l->pid = fork()) < 0)
		sq_die(SQ_EDATA, "%s: %s", TOOL, strerror(errno));
	if (l->pid == 0) {
		if (dup2(fd[0], STDIN_FILENO) < 0)
			_exit(SQ_EDATA);
		close(fd[0]);
		close(fd[1]);
		start(l, f, file ? f->model : path);
	}
	if (dup2(fd[1], STDOUT_FILENO) < 0)
		sq_die(SQ_EDATA, "stdout: %s", strerror(errno));
	close(fd[0]);
	close(fd[1]);
	if (copy >= 0)
		close(copy);
	f->compress = 0;
}

int
sq_learn_end(struct sq_learn_stage *l)
{
	int status;

	if (l->steps == 0)
		return SQ_OK;
	close(STDOUT_FILENO);
	while (waitpid(l->pid, &status, 0) < 0)
		if (errno != EINTR)
			return SQ_EDATA;
	return WIFEXITED(status) ? WEXITSTATUS(status) : SQ_EDATA;
}
