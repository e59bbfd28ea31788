/* peak FILE COMMAND ...: runs it, and writes the most memory that it had, in
 * KB, to a file.  Exits as the command did. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/resource.h>
#include <sys/wait.h>

int
main(int argc, char *argv[])
{
	struct rusage use;
	int status;
	pid_t pid;
	FILE *f;

	if (argc < 3)
		return 2;
	if ((pid = fork()) == 0) {
		execvp(argv[2], argv + 2);
		_exit(127);
	}
	if (wait4(pid, &status, 0, &use) != pid ||
	    (f = fopen(argv[1], "w")) == NULL)
		return 2;
	fprintf(f, "%ld\n", use.ru_maxrss);
	if (fclose(f) != 0)
		return 2;
	return WIFEXITED(status) ? WEXITSTATUS(status) :
	    128 + WTERMSIG(status);
}
