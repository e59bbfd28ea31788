/* lib/base/outfile: an output appears whole or not at all. */
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "base/io.h"
#include "base/outfile.h"

static char dir[64], path[128], part[160];

static void
enter(void)
{
	snprintf(dir, sizeof(dir), "/tmp/t_outfile-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/out", dir);
	snprintf(part, sizeof(part), "%s.part", path);
}

/* Removes what a test made: directories of plain files and empty directories,
 * no deeper, and never through a symbolic link. */
static void
clear(int at, const char *name, int deep)
{
	int fd;
	struct dirent *e;
	DIR *d;

	if (unlinkat(at, name, 0) == 0)
		return;
	fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
	d = fd < 0 || deep == 0 ? NULL : fdopendir(fd);
	while (d != NULL && (e = readdir(d)) != NULL)
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			clear(fd, e->d_name, deep - 1);
	if (d != NULL)
		closedir(d);
	else if (fd >= 0)
		close(fd);
	unlinkat(at, name, AT_REMOVEDIR);
}

static void
leave(void)
{
	if (strncmp(dir, "/tmp/t_outfile-", 15) == 0)
		clear(AT_FDCWD, dir, 2);
}

static void
put(const char *p, const char *text)
{
	FILE *f = fopen(p, "w");

	ck_assert_ptr_nonnull(f);
	fputs(text, f);
	fclose(f);
}

static int
holds(const char *p, const char *text)
{
	char b[256];
	FILE *f = fopen(p, "r");
	size_t n;

	if (f == NULL)
		return 0;
	n = fread(b, 1, sizeof(b) - 1, f);
	fclose(f);
	b[n] = '\0';
	return strcmp(b, text) == 0;
}

static int
is_there(const char *p)
{
	struct stat st;

	return lstat(p, &st) == 0;
}

static int
entries(const char *p)
{
	DIR *d = opendir(p);
	struct dirent *e;
	int n = 0;

	while ((e = readdir(d)) != NULL)
		n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
	closedir(d);
	return n;
}

START_TEST(file)
{
	struct sq_outfile o;
	struct stat st;

	umask(022);
	ck_assert_int_eq(sq_outfile_open(&o, path), 0);
	ck_assert_int_eq(sq_write_full(o.fd, "new", 3), 0);
	ck_assert_int_eq(is_there(path), 0);
	ck_assert_int_eq(sq_outfile_commit(&o), 0);
	ck_assert(holds(path, "new"));
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_int_eq(st.st_mode & 0777, 0644);
	ck_assert_int_eq(entries(dir), 1);
	sq_outfile_abort(&o);			/* harmless now */
	ck_assert(holds(path, "new"));
}
END_TEST

START_TEST(file_replaces)
{
	struct sq_outfile o;

	put(path, "old");
	ck_assert_int_eq(sq_outfile_open(&o, path), 0);
	ck_assert_int_eq(sq_write_full(o.fd, "new", 3), 0);
	ck_assert(holds(path, "old"));
	ck_assert_int_eq(sq_outfile_commit(&o), 0);
	ck_assert(holds(path, "new"));
	ck_assert_int_eq(entries(dir), 1);
	put(part, "what a killed run left");
	ck_assert_int_eq(sq_outfile_open(&o, path), 0);
	ck_assert_int_eq(sq_write_full(o.fd, "third", 5), 0);
	ck_assert_int_eq(sq_outfile_commit(&o), 0);
	ck_assert(holds(path, "third"));
	ck_assert_int_eq(entries(dir), 1);
}
END_TEST

START_TEST(file_aborted)
{
	struct sq_outfile o;

	ck_assert_int_eq(sq_outfile_open(&o, path), 0);
	ck_assert_int_eq(sq_write_full(o.fd, "new", 3), 0);
	sq_outfile_abort(&o);
	ck_assert_int_eq(entries(dir), 0);
	sq_outfile_abort(&o);
	put(path, "old");
	ck_assert_int_eq(sq_outfile_open(&o, path), 0);
	sq_outfile_abort(&o);
	ck_assert(holds(path, "old"));
	ck_assert_int_eq(entries(dir), 1);
}
END_TEST

START_TEST(file_refused)
{
	char below[200];
	struct sq_outfile o;

	ck_assert_int_lt(sq_outfile_open(&o, ""), 0);
	ck_assert_int_ne(o.err[0], '\0');
	sq_outfile_abort(&o);
	ck_assert_int_lt(sq_outfile_open(&o, "/dev/null"), 0);
	ck_assert_ptr_nonnull(strstr(o.err, "not a regular file"));
	snprintf(below, sizeof(below), "%s/no/where", dir);
	ck_assert_int_lt(sq_outfile_open(&o, below), 0);
	ck_assert_ptr_nonnull(strstr(o.err, "No such file"));
	ck_assert_int_eq(mkdir(path, 0755), 0);
	ck_assert_int_lt(sq_outfile_open(&o, path), 0);
	ck_assert_ptr_nonnull(strstr(o.err, "not a regular file"));
}
END_TEST

/* The name is taken, or its directory goes, while the file is written. */
START_TEST(file_overtaken)
{
	struct sq_outfile o;

	ck_assert_int_eq(sq_outfile_open(&o, path), 0);
	ck_assert_int_eq(mkdir(path, 0755), 0);
	ck_assert_int_lt(sq_outfile_commit(&o), 0);
	ck_assert_ptr_nonnull(strstr(o.err, "directory"));
	ck_assert_int_eq(entries(dir), 1);
	rmdir(path);
	ck_assert_int_eq(sq_outfile_open(&o, path), 0);
	rmdir(dir);
	ck_assert_int_lt(sq_outfile_commit(&o), 0);
	ck_assert_int_ne(o.err[0], '\0');
}
END_TEST

static void
put_in(int fd, const char *name, const char *text)
{
	int f = openat(fd, name, O_WRONLY | O_CREAT, 0644);

	ck_assert_int_ge(f, 0);
	ck_assert_int_eq(sq_write_full(f, text, strlen(text)), 0);
	close(f);
}

static const char *
in(const char *name)
{
	static char p[256];

	snprintf(p, sizeof(p), "%s/%s", path, name);
	return p;
}

START_TEST(directory)
{
	struct sq_outfile o;

	ck_assert_int_eq(sq_outdir_open(&o, path, "mark"), 0);
	put_in(o.fd, "mark", "1");
	ck_assert_int_eq(is_there(path), 0);
	ck_assert_int_eq(sq_outfile_commit(&o), 0);
	ck_assert(holds(in("mark"), "1"));
	ck_assert_int_eq(entries(dir), 1);
	/* an earlier one is there until the commit, and gone after it */
	put(in("more"), "old");
	ck_assert_int_eq(sq_outdir_open(&o, path, "mark"), 0);
	put_in(o.fd, "mark", "2");
	ck_assert(holds(in("mark"), "1"));
	ck_assert_int_eq(sq_outfile_commit(&o), 0);
	ck_assert(holds(in("mark"), "2"));
	ck_assert_int_eq(is_there(in("more")), 0);
	ck_assert_int_eq(entries(dir), 1);
	/* slashes at the end are nothing */
	ck_assert_int_eq(sq_outdir_open(&o, in(""), "mark"), 0);
	put_in(o.fd, "mark", "3");
	ck_assert_int_eq(sq_outfile_commit(&o), 0);
	ck_assert(holds(in("mark"), "3"));
	ck_assert_int_eq(entries(dir), 1);
}
END_TEST

START_TEST(directory_aborted)
{
	struct sq_outfile o;

	ck_assert_int_eq(sq_outdir_open(&o, path, "mark"), 0);
	put_in(o.fd, "a", "1");
	sq_outfile_abort(&o);
	ck_assert_int_eq(entries(dir), 0);
	/* what a killed run left */
	ck_assert_int_eq(mkdir(part, 0755), 0);
	ck_assert_int_eq(sq_outdir_open(&o, path, "mark"), 0);
	ck_assert_int_eq(entries(part), 0);
	put_in(o.fd, "mark", "1");
	ck_assert_int_eq(sq_outfile_commit(&o), 0);
	ck_assert_int_eq(entries(dir), 1);
	ck_assert_int_eq(sq_outdir_open(&o, path, "mark"), 0);
	sq_outfile_abort(&o);
	ck_assert(holds(in("mark"), "1"));
}
END_TEST

/* Nobody's own directory is replaced. */
START_TEST(directory_refused)
{
	struct sq_outfile o;

	put(path, "a file");
	ck_assert_int_lt(sq_outdir_open(&o, path, "mark"), 0);
	unlink(path);
	ck_assert_int_eq(mkdir(path, 0755), 0);
	ck_assert_int_eq(sq_outdir_open(&o, path, "mark"), 0);
	sq_outfile_abort(&o);			/* empty: may be */
	put(in("letter"), "mine");
	ck_assert_int_lt(sq_outdir_open(&o, path, "mark"), 0);
	ck_assert_ptr_nonnull(strstr(o.err, "not an earlier output"));
	put(in("mark"), "");
	ck_assert_int_eq(sq_outdir_open(&o, path, "mark"), 0);
	sq_outfile_abort(&o);
	ck_assert_int_eq(mkdir(in("deeper"), 0755), 0);
	ck_assert_int_lt(sq_outdir_open(&o, path, "mark"), 0);
	rmdir(in("deeper"));
	ck_assert_int_eq(symlink("letter", in("link")), 0);
	ck_assert_int_lt(sq_outdir_open(&o, path, "mark"), 0);
	ck_assert(holds(in("letter"), "mine"));
	ck_assert_int_eq(entries(dir), 1);
}
END_TEST

/* A symbolic link under OUT.part or OUT: what it points to is not touched. */
START_TEST(directory_linked)
{
	char other[160], file[200];
	struct sq_outfile o;

	snprintf(other, sizeof(other), "%s/other", dir);
	snprintf(file, sizeof(file), "%s/letter", other);
	ck_assert_int_eq(mkdir(other, 0755), 0);
	put(file, "mine");
	ck_assert_int_eq(symlink("other", part), 0);
	ck_assert_int_lt(sq_outdir_open(&o, path, "mark"), 0);
	ck_assert(holds(file, "mine"));
	ck_assert_int_eq(unlink(part), 0);
	ck_assert_int_eq(symlink("other", path), 0);
	ck_assert_int_lt(sq_outdir_open(&o, path, "mark"), 0);
	ck_assert(holds(file, "mine"));
	ck_assert_int_eq(is_there(part), 0);
}
END_TEST

/* No room for the file: the reason, and nothing left. */
START_TEST(no_room)
{
	struct rlimit was, small;
	struct sq_outfile o;
	char b[8192] = { 0 };

	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &was);
	ck_assert_int_eq(sq_outfile_open(&o, path), 0);
	small = was;
	small.rlim_cur = 4096;
	setrlimit(RLIMIT_FSIZE, &small);
	ck_assert_int_lt(sq_write_full(o.fd, b, sizeof(b)), 0);
	ck_assert_int_eq(errno, EFBIG);
	setrlimit(RLIMIT_FSIZE, &was);
	sq_outfile_abort(&o);
	ck_assert_int_eq(entries(dir), 0);
}
END_TEST

START_TEST(temporary)
{
	char b[8] = "";
	int fd;

	setenv("TMPDIR", dir, 1);
	fd = sq_temp_file();
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(entries(dir), 0);
	ck_assert_int_eq(sq_write_full(fd, "abc", 3), 0);
	ck_assert_int_eq(sq_pread_full(fd, b, 8, 0), 3);
	ck_assert_str_eq(b, "abc");
	close(fd);
	setenv("TMPDIR", path, 1);		/* is not there */
	ck_assert_int_lt(sq_temp_file(), 0);
	ck_assert_int_eq(errno, ENOENT);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("outfile");
	TCase *tc = tcase_create("outfile");
	SRunner *sr;
	int failed;

	tcase_add_checked_fixture(tc, enter, leave);
	tcase_add_test(tc, file);
	tcase_add_test(tc, file_replaces);
	tcase_add_test(tc, file_aborted);
	tcase_add_test(tc, file_refused);
	tcase_add_test(tc, file_overtaken);
	tcase_add_test(tc, directory);
	tcase_add_test(tc, directory_aborted);
	tcase_add_test(tc, directory_refused);
	tcase_add_test(tc, directory_linked);
	tcase_add_test(tc, no_room);
	tcase_add_test(tc, temporary);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
