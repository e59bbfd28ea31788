/*
 * The vectors of sq-stream(5) through two readers: ours, and the tiny one that
 * was written from the page.  They must say the same of every stream.
 */
#include <check.h>
#include <fcntl.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "formats/fmt_stream.h"

#define main	mini_main
#include "tests/formats/mini_stream.c"
#undef main

#define TEXT	65536

/* What the tiny reader prints, and its exit status. */
static int
tiny(const char *path, char *text)
{
	int in = open(path, O_RDONLY), out = memfd_create("text", 0), status;
	ssize_t n;
	pid_t pid;

	ck_assert_int_ge(in, 0);
	if ((pid = fork()) == 0) {
		dup2(in, 0);
		dup2(out, 1);
		status = mini_main();
		fflush(stdout);
		_exit(status);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	n = pread(out, text, TEXT - 1, 0);
	ck_assert_int_ge(n, 0);
	text[n] = '\0';
	close(in);
	close(out);
	ck_assert(WIFEXITED(status) && WEXITSTATUS(status) <= 1);
	return WEXITSTATUS(status) == 0 ? 0 : -1;
}

static void
check_tensor(struct sq_in *in, const void *payload)
{
	struct sq_tensor t;
	char err[SQ_ERR];

	if (in->type != SQ_TENSOR || !json_object_get(in->desc, "shape"))
		return;
	ck_assert_msg(sq_tensor_parse(&t, in->desc, in->length, err) == 0,
	    "%s", err);
	ck_assert_msg(sq_tensor_check_data(&t, payload, err) == 0, "%s", err);
}

/* The same from our reader; the reason when it fails. */
static int
ours(const char *path, char *text)
{
	struct sq_in in;
	int fd = open(path, O_RDONLY), r;
	size_t n = 0;
	void *p;

	ck_assert_int_eq(sq_in_open(&in, fd), 0);
	while ((r = sq_in_next(&in)) > 0) {
		if ((p = sq_in_payload(&in, 1 << 23)) == NULL)
			continue;
		n += (size_t)snprintf(text + n, TEXT - n,
		    "%ju %u %u %ju %016jx\n", (uintmax_t)in.records - 1,
		    in.type, in.json_len, (uintmax_t)in.length,
		    (uintmax_t)XXH3_64bits(p, in.length));
		check_tensor(&in, p);
		free(p);
	}
	if (r == 0)
		snprintf(text + n, TEXT - n, "%ju %u %u %u %016jx\n"
		    "end %ju %s\n", (uintmax_t)in.records - 1, SQ_END,
		    in.json_len, 0, (uintmax_t)XXH3_64bits("", 0),
		    (uintmax_t)in.records - 1, in.digest);
	else
		snprintf(text, TEXT, "%s", in.err);
	ck_assert(r == 0 || in.err[0] != '\0');
	sq_in_release(&in);
	close(fd);
	return r;
}

static void
all(const char *pattern, int want)
{
	static char a[TEXT], b[TEXT];
	glob_t g;
	size_t i;

	ck_assert_int_eq(glob(pattern, 0, NULL, &g), 0);
	for (i = 0; i < g.gl_pathc; i++) {
		ck_assert_msg(ours(g.gl_pathv[i], a) == want, "%s: ours: %s",
		    g.gl_pathv[i], a);
		ck_assert_msg(tiny(g.gl_pathv[i], b) == want, "%s: tiny: %s",
		    g.gl_pathv[i], b);
		if (want == 0)
			ck_assert_msg(strcmp(a, b) == 0, "%s: ours:\n%stiny:"
			    "\n%s", g.gl_pathv[i], a, b);
	}
	globfree(&g);
}

START_TEST(good)
{
	all("tests/formats/stream/good/*.sq", 0);
}
END_TEST

START_TEST(bad)
{
	all("tests/formats/stream/bad/*.sq", -1);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("stream vectors");
	TCase *tc = tcase_create("all");
	SRunner *sr;
	int failed;

	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, good);
	tcase_add_test(tc, bad);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
