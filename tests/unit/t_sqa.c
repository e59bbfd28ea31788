/* formats/fmt_sqa: the archive, against vectors that GNU tar made, and back. */
#include <check.h>
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "base/io.h"
#include "formats/fmt_sqa.h"

#define VECTORS	"tests/formats/sqa"

static char err[SQ_ERR];

/* A descriptor as a path: files of these tests live in memory. */
static const char *
fd_path(int fd)
{
	static char p[64];

	snprintf(p, sizeof(p), "/proc/self/fd/%d", fd);
	return p;
}

static int
new_file(void)
{
	int fd = memfd_create("sqa", MFD_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	return fd;
}

static int
verdict(const char *path)
{
	struct sq_sqa *s;
	int r;

	err[0] = '\0';
	if ((s = sq_sqa_open(path, err)) == NULL)
		return -1;
	r = sq_sqa_verify(s, err);
	sq_sqa_close(s);
	return r;
}

START_TEST(good_vectors)
{
	DIR *d = opendir(VECTORS "/good");
	struct dirent *e;
	char path[512];
	int n = 0;

	ck_assert_ptr_nonnull(d);
	while ((e = readdir(d)) != NULL) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), VECTORS "/good/%s", e->d_name);
		ck_assert_msg(verdict(path) == 0, "%s: %s", path, err);
		n++;
	}
	closedir(d);
	ck_assert_int_ge(n, 8);
}
END_TEST

/* EXPECT has a line for each bad vector: its name, a tab, a part of why. */
START_TEST(bad_vectors)
{
	FILE *f = fopen(VECTORS "/bad/EXPECT", "r");
	DIR *d = opendir(VECTORS "/bad");
	struct dirent *e;
	char line[256], path[512], *why;
	int n = 0, files = 0;

	ck_assert_ptr_nonnull(f);
	while (fgets(line, sizeof(line), f) != NULL) {
		line[strcspn(line, "\n")] = '\0';
		why = strchr(line, '\t');
		ck_assert_ptr_nonnull(why);
		*why++ = '\0';
		snprintf(path, sizeof(path), VECTORS "/bad/%s", line);
		ck_assert_msg(verdict(path) < 0, "%s is taken", path);
		ck_assert_int_ne(err[0], '\0');
		ck_assert_msg(strstr(err, why) != NULL, "%s: %s", path, err);
		n++;
	}
	fclose(f);
	while ((e = readdir(d)) != NULL)
		files += e->d_name[0] != '.';
	closedir(d);
	ck_assert_int_eq(n + 1, files);
	ck_assert_int_ge(n, 40);
}
END_TEST

START_TEST(members)
{
	struct sq_sqa *s = sq_sqa_open(VECTORS "/good/members.sqa", err);
	static const char *const names[] = { "config.json", "weights/a",
	    "empty", "MANIFEST" };
	const struct sq_sqa_member *m;
	size_t i;

	ck_assert_msg(s != NULL, "%s", err);
	ck_assert_uint_eq(s->n, 4);
	for (i = 0; i < 4; i++) {
		ck_assert_str_eq(s->member[i].name, names[i]);
		ck_assert_ptr_eq(sq_sqa_find(s, names[i]), &s->member[i]);
	}
	m = sq_sqa_find(s, "weights/a");
	ck_assert_uint_eq(m->size, 4);
	ck_assert_int_eq(memcmp(s->map + m->offset, "four", 4), 0);
	ck_assert_uint_eq(sq_sqa_find(s, "empty")->size, 0);
	ck_assert_ptr_null(sq_sqa_find(s, "weights"));
	ck_assert_ptr_null(sq_sqa_find(s, ""));
	sq_sqa_close(s);
	sq_sqa_close(NULL);
}
END_TEST

static const size_t sizes[] = { 0, 1, 63, 511, 512, 513, 3584, 4095, 4096,
    4097, 100000, 1 << 20 };

#define NSIZES	(sizeof(sizes) / sizeof(sizes[0]))

static void
member_name(char name[300], size_t i)
{
	/* names that need extended headers, and those that do not */
	snprintf(name, 300, "weights/%zu.%.*s", i, (int)(i * 22),
	    "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"
	    "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"
	    "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"
	    "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn");
}

static unsigned char
byte_of(size_t i, size_t j)
{
	return (unsigned char)(i * 31 + j * 7 + (j >> 8));
}

/* An archive of members of all sizes, in pieces: 0, or -1 with the reason. */
static int
make(int fd, size_t piece)
{
	static unsigned char data[1 << 20];
	struct sq_sqa_out *o = sq_sqa_create(fd, err);
	char name[300];
	size_t i, j, n;
	int r = -1;

	ck_assert_ptr_nonnull(o);
	if (sq_sqa_add(o, "config.json", "{}", 2, err) < 0)
		goto done;
	for (i = 0; i < NSIZES; i++) {
		member_name(name, i);
		for (j = 0; j < sizes[i]; j++)
			data[j] = byte_of(i, j);
		if (sq_sqa_begin(o, name, sizes[i], 1, err) < 0)
			goto done;
		for (j = 0; j < sizes[i]; j += n) {
			n = sizes[i] - j < piece ? sizes[i] - j : piece;
			if (sq_sqa_write(o, data + j, n, err) < 0)
				goto done;
		}
		if (sq_sqa_end(o, err) < 0)
			goto done;
	}
	r = sq_sqa_finish(o, err);
done:
	sq_sqa_out_free(o);
	return r;
}

START_TEST(written)
{
	const struct sq_sqa_member *m;
	char name[300];
	struct sq_sqa *s;
	size_t i, j;
	int fd = new_file();

	ck_assert_msg(make(fd, 1000) == 0, "%s", err);
	ck_assert_msg(verdict(fd_path(fd)) == 0, "%s", err);
	s = sq_sqa_open(fd_path(fd), err);
	ck_assert_uint_eq(s->n, NSIZES + 2);
	for (i = 0; i < NSIZES; i++) {
		member_name(name, i);
		m = sq_sqa_find(s, name);
		ck_assert_ptr_nonnull(m);
		ck_assert_uint_eq(m->size, sizes[i]);
		ck_assert_uint_eq(m->offset % SQ_SQA_ALIGN, 0);
		for (j = 0; j < sizes[i]; j++)
			ck_assert_int_eq(s->map[m->offset + j], byte_of(i, j));
	}
	sq_sqa_close(s);
	close(fd);
}
END_TEST

static void *
contents(int fd, size_t *n)
{
	void *p;

	*n = (size_t)lseek(fd, 0, SEEK_END);
	p = malloc(*n + 1);
	ck_assert_ptr_nonnull(p);
	ck_assert_int_eq(sq_pread_full(fd, p, *n, 0), (ssize_t)*n);
	return p;
}

START_TEST(same_bytes)
{
	int a = new_file(), b = new_file();
	size_t na, nb;
	void *pa, *pb;

	ck_assert_int_eq(make(a, 1 << 20), 0);
	sleep(1);			/* another second on the clock */
	setenv("TZ", "Asia/Tokyo", 1);
	ck_assert_int_eq(make(b, 77), 0);
	pa = contents(a, &na);
	pb = contents(b, &nb);
	ck_assert_uint_eq(na, nb);
	ck_assert_int_eq(memcmp(pa, pb, na), 0);
	free(pa);
	free(pb);
	close(a);
	close(b);
}
END_TEST

START_TEST(misuse)
{
	static const char *const bad[] = { "", "/etc/passwd", "../x",
	    "weights/../x", "a..b" };
	struct sq_sqa_out *o;
	int fd = new_file();
	size_t i;

	o = sq_sqa_create(fd, err);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_msg(sq_sqa_add(o, bad[i], "x", 1, err) < 0, "%s",
		    bad[i]);
	ck_assert_int_eq(sq_sqa_begin(o, "a", 3, 0, err), 0);
	ck_assert_int_lt(sq_sqa_write(o, "four", 4, err), 0);
	ck_assert_ptr_nonnull(strstr(err, "more bytes than announced"));
	ck_assert_int_eq(sq_sqa_write(o, "ab", 2, err), 0);
	ck_assert_int_lt(sq_sqa_end(o, err), 0);
	ck_assert_ptr_nonnull(strstr(err, "fewer bytes than announced"));
	sq_sqa_out_free(o);			/* in the middle of a member */
	ck_assert_int_lt(verdict(fd_path(fd)), 0);
	sq_sqa_out_free(NULL);
	close(fd);
}
END_TEST

/* Room for so many bytes and no more: always the reason, never an artifact. */
START_TEST(no_room)
{
	struct rlimit lim;
	int fd = new_file();
	size_t whole, at;

	ck_assert_int_eq(make(fd, 4096), 0);
	whole = (size_t)lseek(fd, 0, SEEK_END);
	close(fd);
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &lim);
	for (at = 0; at < whole; at += 51200 + 512 * (at / 51200 % 3)) {
		char name[] = "/tmp/t_sqa-XXXXXX";

		fd = mkstemp(name);
		unlink(name);
		lim.rlim_cur = at;
		setrlimit(RLIMIT_FSIZE, &lim);
		ck_assert_int_lt(make(fd, 4096), 0);
		ck_assert_msg(strstr(err, "cannot write: File too large") !=
		    NULL, "%s", err);
		lim.rlim_cur = lim.rlim_max;
		setrlimit(RLIMIT_FSIZE, &lim);
		ck_assert_int_lt(verdict(fd_path(fd)), 0);
		close(fd);
	}
}
END_TEST

/* More than is written at a time. */
START_TEST(large)
{
	const size_t n = ((size_t)5 << 20) + 3;
	const struct sq_sqa_member *m;
	int fd = new_file();
	unsigned char *p = malloc(n);
	struct sq_sqa_out *o;
	struct sq_sqa *s;
	size_t i;

	for (i = 0; i < n; i++)
		p[i] = byte_of(i >> 16, i);
	o = sq_sqa_create(fd, err);
	ck_assert_int_eq(sq_sqa_begin(o, "weights/w", n, 1, err), 0);
	ck_assert_int_eq(sq_sqa_write(o, p, n, err), 0);
	ck_assert_int_eq(sq_sqa_end(o, err), 0);
	ck_assert_int_eq(sq_sqa_finish(o, err), 0);
	sq_sqa_out_free(o);
	ck_assert_msg(verdict(fd_path(fd)) == 0, "%s", err);
	s = sq_sqa_open(fd_path(fd), err);
	m = sq_sqa_find(s, "weights/w");
	ck_assert_int_eq(memcmp(s->map + m->offset, p, n), 0);
	sq_sqa_close(s);
	free(p);
	close(fd);
}
END_TEST

START_TEST(through_a_pipe)
{
	struct sq_sqa_out *o;
	char buf[65536];
	ssize_t n;
	int fd[2], f = new_file();

	ck_assert_int_eq(pipe(fd), 0);
	o = sq_sqa_create(fd[1], err);
	ck_assert_int_eq(sq_sqa_begin(o, "weights/x", 5, 1, err), 0);
	ck_assert_int_eq(sq_sqa_write(o, "12345", 5, err), 0);
	ck_assert_int_eq(sq_sqa_end(o, err), 0);
	ck_assert_int_eq(sq_sqa_finish(o, err), 0);
	sq_sqa_out_free(o);
	close(fd[1]);
	n = sq_read_full(fd[0], buf, sizeof(buf));
	ck_assert_int_eq(sq_write_full(f, buf, (size_t)n), 0);
	ck_assert_msg(verdict(fd_path(f)) == 0, "%s", err);
	close(fd[0]);
	close(f);
}
END_TEST

/* A small one for the tests that take it to pieces. */
static unsigned char *
small(size_t *n)
{
	struct sq_sqa_out *o;
	unsigned char *p;
	int fd = new_file();

	o = sq_sqa_create(fd, err);
	ck_assert_int_eq(sq_sqa_add(o, "config.json", "{}", 2, err), 0);
	ck_assert_int_eq(sq_sqa_begin(o, "weights/w", 700, 1, err), 0);
	ck_assert_int_eq(sq_sqa_write(o, VECTORS VECTORS, 20, err), 0);
	p = calloc(1, 680);
	ck_assert_int_eq(sq_sqa_write(o, p, 680, err), 0);
	free(p);
	ck_assert_int_eq(sq_sqa_end(o, err), 0);
	ck_assert_int_eq(sq_sqa_finish(o, err), 0);
	sq_sqa_out_free(o);
	p = contents(fd, n);
	close(fd);
	return p;
}

static int
verdict_of(const unsigned char *p, size_t n)
{
	int fd = new_file(), r;

	ck_assert_int_eq(sq_write_full(fd, p, n), 0);
	r = verdict(fd_path(fd));
	close(fd);
	return r;
}

/* Two blocks of zeros end a tar: what is cut before the last member's data end
 * is not whole. */
START_TEST(truncations)
{
	size_t n, i;
	unsigned char *p = small(&n);

	ck_assert_int_eq(verdict_of(p, n), 0);
	for (i = 0; i < n - 1024 - 400; i += 13)
		ck_assert_msg(verdict_of(p, i) < 0, "%zu of %zu bytes", i, n);
	free(p);
}
END_TEST

/* A byte of data is never changed unseen; one of a header may be of no matter,
 * such as the time: then the members are what they were. */
START_TEST(changed_bytes)
{
	size_t n, i, k;
	unsigned char *p = small(&n);
	struct sq_sqa *s;
	int fd;

	for (i = 0; i < n; i++) {
		p[i] ^= (unsigned char)(1 << i % 8);
		fd = new_file();
		ck_assert_int_eq(sq_write_full(fd, p, n), 0);
		s = sq_sqa_open(fd_path(fd), err);
		if (s != NULL && sq_sqa_verify(s, err) == 0) {
			ck_assert_uint_eq(s->n, 3);
			for (k = 0; k < s->n; k++)
				ck_assert_msg(i < s->member[k].offset || i >=
				    s->member[k].offset + s->member[k].size,
				    "byte %zu", i);
		}
		sq_sqa_close(s);
		close(fd);
		p[i] ^= (unsigned char)(1 << i % 8);
	}
	free(p);
}
END_TEST

START_TEST(shipping_form)
{
	size_t n, zn, i;
	unsigned char *p = small(&n), *z;
	char dir[] = "/tmp/t_sqa-XXXXXX";

	z = malloc(ZSTD_compressBound(n));
	zn = ZSTD_compress(z, ZSTD_compressBound(n), p, n, 3);
	ck_assert_int_eq(sq_sqa_probe(z, zn), 1);
	ck_assert_int_eq(sq_sqa_probe(p, n), 1);
	ck_assert_int_eq(sq_sqa_probe("{}", 2), 0);
	ck_assert_int_eq(sq_sqa_probe("", 0), 0);
	ck_assert_msg(verdict_of(z, zn) == 0, "%s", err);
	for (i = 4; i < zn; i += 3)
		ck_assert_msg(verdict_of(z, i) < 0, "%zu of %zu bytes", i, zn);
	/* where temporary files cannot be */
	ck_assert_ptr_nonnull(mkdtemp(dir));
	rmdir(dir);
	setenv("TMPDIR", dir, 1);
	ck_assert_int_lt(verdict_of(z, zn), 0);
	ck_assert_ptr_nonnull(strstr(err, "temporary file"));
	ck_assert_msg(verdict_of(p, n) == 0, "%s", err);
	free(p);
	free(z);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("sqa");
	TCase *tc = tcase_create("sqa");
	SRunner *sr;
	int failed;

	tcase_add_test(tc, good_vectors);
	tcase_add_test(tc, bad_vectors);
	tcase_add_test(tc, members);
	tcase_add_test(tc, written);
	tcase_add_test(tc, same_bytes);
	tcase_add_test(tc, misuse);
	tcase_add_test(tc, no_room);
	tcase_add_test(tc, large);
	tcase_add_test(tc, through_a_pipe);
	tcase_add_test(tc, truncations);
	tcase_add_test(tc, changed_bytes);
	tcase_add_test(tc, shipping_form);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
