/* The .sqa archive; see fmt_sqa.h and sqa(5). */
#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/io.h"
#include "formats/fmt_sqa.h"

#define SHA_BYTES	32
#define SHA_TEXT	65
#define SHA_PIECE	((size_t)4 << 20)
#define PAD_XATTR	"user.sq.align"
#define MAX_MEMBERS	((size_t)1 << 22)
#define HEADER_MAX	(1 << 16)	/* a member's headers, padding included */
#define TAR_BLOCK	512
#define PIECE		((size_t)2 << 20)	/* a huge page */

/* ---- SHA-256 ---- */

static void
sha_text(EVP_MD_CTX *ctx, char text[SHA_TEXT])
{
	unsigned char md[SHA_BYTES] = { 0 };
	int i;

	EVP_DigestFinal_ex(ctx, md, NULL);
	for (i = 0; i < SHA_BYTES; i++)
		snprintf(text + 2 * i, 3, "%02x", md[i]);
}

static int
sha_start(EVP_MD_CTX *ctx)
{
	return EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1 ? 0 : -1;
}

/* Of n bytes; a mapping's pages are given back when they have been seen. */
static int
sha_of(const void *buf, size_t n, int mapped, char text[SHA_TEXT])
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	const unsigned char *p = buf;
	size_t m;

	if (ctx == NULL || sha_start(ctx) < 0) {
		EVP_MD_CTX_free(ctx);
		return -1;
	}
	for (; n > 0; p += m, n -= m) {
		m = n < SHA_PIECE ? n : SHA_PIECE;
		EVP_DigestUpdate(ctx, p, m);
		if (mapped)
			(void)madvise((void *)((uintptr_t)p & ~(uintptr_t)4095),
			    m, MADV_DONTNEED);
	}
	sha_text(ctx, text);
	EVP_MD_CTX_free(ctx);
	return 0;
}

static int
member_name_ok(const char *s)
{
	return s[0] != '\0' && s[0] != '/' && strstr(s, "..") == NULL;
}

/* ---- writing ---- */

struct sq_sqa_out {
	int fd;
	uint64_t pos;			/* bytes put out */
	char *piece;			/* the last of them, not yet written */
	size_t have;
	int failed;			/* errno of a write that failed */
	struct archive *a;
	EVP_MD_CTX *sha;
	char *name;			/* of the open member */
	uint64_t left;			/* of it */
	FILE *manifest;
	char *text;			/* what is in it */
	size_t text_len;
};

static int
write_piece(struct sq_sqa_out *o)
{
	if (sq_write_full(o->fd, o->piece, o->have) < 0) {
		o->failed = errno;
		return -1;
	}
	o->have = 0;
	return 0;
}

/*
 * Whole pieces at their multiples: where the system keeps what is written in
 * huge pages, a mapping of the file has these, and reads faster.
 */
static la_ssize_t
write_bytes(struct archive *a, void *arg, const void *buf, size_t n)
{
	struct sq_sqa_out *o = arg;
	size_t done, m;

	for (done = 0; done < n; done += m) {
		m = PIECE - o->have < n - done ? PIECE - o->have : n - done;
		memcpy(o->piece + o->have, (const char *)buf + done, m);
		o->have += m;
		if (o->have == PIECE && write_piece(o) < 0) {
			archive_set_error(a, o->failed, "write");
			return -1;
		}
	}
	o->pos += n;
	return (la_ssize_t)n;
}

/* Unblocked pax, xattrs in one spelling: what reaches the callback is final. */
static struct archive *
new_writer(void)
{
	struct archive *a = archive_write_new();

	if (a != NULL && archive_write_set_format_pax(a) == ARCHIVE_OK &&
	    archive_write_set_format_option(a, "pax", "xattrheader",
	    "SCHILY") == ARCHIVE_OK &&
	    archive_write_set_bytes_per_block(a, 0) == ARCHIVE_OK)
		return a;
	archive_write_free(a);
	return NULL;
}

struct sq_sqa_out *
sq_sqa_create(int fd, char *err)
{
	struct sq_sqa_out *o = calloc(1, sizeof(*o));

	if (o == NULL)
		goto err;
	o->fd = fd;
	o->a = new_writer();
	o->sha = EVP_MD_CTX_new();
	o->manifest = open_memstream(&o->text, &o->text_len);
	o->piece = malloc(PIECE);
	if (o->piece == NULL || o->a == NULL || o->sha == NULL ||
	    o->manifest == NULL ||
	    archive_write_open(o->a, o, NULL, write_bytes, NULL) != ARCHIVE_OK)
		goto err;
	return o;
err:
	sq_sqa_out_free(o);
	sq_fail(err, "cannot start an archive");
	return NULL;
}

void
sq_sqa_out_free(struct sq_sqa_out *o)
{
	if (o == NULL)
		return;
	if (o->a != NULL)
		archive_write_fail(o->a);	/* or free would go on writing */
	archive_write_free(o->a);
	EVP_MD_CTX_free(o->sha);
	if (o->manifest != NULL)
		fclose(o->manifest);
	free(o->text);
	free(o->name);
	free(o->piece);
	free(o);
}

static int
fail(struct sq_sqa_out *o, char *err)
{
	if (o->failed != 0) {
		errno = o->failed;
		return sq_fail_errno(err, "cannot write");
	}
	return sq_fail(err, "archive: %s", archive_error_string(o->a));
}

static struct archive_entry *
new_entry(const char *name, uint64_t size, size_t pad)
{
	struct archive_entry *e = archive_entry_new();
	char *spaces;

	if (e == NULL)
		return NULL;
	archive_entry_set_pathname(e, name);
	archive_entry_set_size(e, (la_int64_t)size);
	archive_entry_set_filetype(e, AE_IFREG);
	archive_entry_set_perm(e, 0644);
	if (pad == 0)
		return e;
	if ((spaces = malloc(pad)) == NULL) {
		archive_entry_free(e);
		return NULL;
	}
	memset(spaces, ' ', pad);
	archive_entry_xattr_add_entry(e, PAD_XATTR, spaces, pad);
	free(spaces);
	return e;
}

/* Bytes that the headers of a member take; 0 when that fails. */
static size_t
header_size(const char *name, uint64_t size, size_t pad)
{
	static const size_t none = 0;
	struct archive_entry *e = new_entry(name, size, pad);
	struct archive *a = new_writer();
	char *buf = malloc(HEADER_MAX);
	size_t used = none;

	if (e != NULL && a != NULL && buf != NULL &&
	    archive_write_open_memory(a, buf, HEADER_MAX, &used) ==
	    ARCHIVE_OK && archive_write_header(a, e) != ARCHIVE_OK)
		used = none;
	if (a != NULL)
		archive_write_fail(a);
	archive_write_free(a);
	archive_entry_free(e);
	free(buf);
	return used;
}

/*
 * The length of the padding attribute that brings the data of a member to a
 * multiple of SQ_SQA_ALIGN.  Headers grow by blocks of 512, so a few sizes are
 * tried: the attribute's own overhead is libarchive's business.
 */
static size_t
pad_for(const struct sq_sqa_out *o, const char *name, uint64_t size)
{
	size_t pad = 0, h, rest;
	int tries;

	for (tries = 0; tries < 24; tries++) {
		h = header_size(name, size, pad);
		rest = (size_t)((o->pos + h) % SQ_SQA_ALIGN);
		if (h == 0 || rest == 0)
			break;
		pad += pad == 0 ? 1 : TAR_BLOCK;
	}
	return pad;
}

int
sq_sqa_begin(struct sq_sqa_out *o, const char *name, uint64_t size,
    int aligned, char *err)
{
	struct archive_entry *e;
	int r;

	if (!member_name_ok(name))
		return sq_fail(err, "member '%s': a name that is not allowed",
		    name);
	e = new_entry(name, size, aligned ? pad_for(o, name, size) : 0);
	free(o->name);
	o->name = strdup(name);
	o->left = size;
	if (e == NULL || o->name == NULL || sha_start(o->sha) < 0) {
		archive_entry_free(e);
		return sq_fail(err, "out of memory");
	}
	r = archive_write_header(o->a, e);
	archive_entry_free(e);
	if (r != ARCHIVE_OK)
		return fail(o, err);
	if (aligned && o->pos % SQ_SQA_ALIGN != 0)
		return sq_fail(err, "'%s': cannot be aligned", name);
	return 0;
}

int
sq_sqa_write(struct sq_sqa_out *o, const void *buf, size_t n, char *err)
{
	if (n > o->left)
		return sq_fail(err, "'%s': more bytes than announced",
		    o->name);
	o->left -= n;
	EVP_DigestUpdate(o->sha, buf, n);
	if (n > 0 && archive_write_data(o->a, buf, n) != (la_ssize_t)n)
		return fail(o, err);
	return 0;
}

int
sq_sqa_end(struct sq_sqa_out *o, char *err)
{
	char hash[SHA_TEXT];

	if (o->left != 0)
		return sq_fail(err, "'%s': fewer bytes than announced",
		    o->name);
	if (archive_write_finish_entry(o->a) != ARCHIVE_OK)
		return fail(o, err);
	sha_text(o->sha, hash);
	fprintf(o->manifest, "%s  %s\n", hash, o->name);
	return 0;
}

int
sq_sqa_add(struct sq_sqa_out *o, const char *name, const void *buf, size_t n,
    char *err)
{
	if (sq_sqa_begin(o, name, n, 0, err) < 0 ||
	    sq_sqa_write(o, buf, n, err) < 0)
		return -1;
	return sq_sqa_end(o, err);
}

int
sq_sqa_finish(struct sq_sqa_out *o, char *err)
{
	char hash[SHA_TEXT], *text;
	int r, n;

	if (fflush(o->manifest) != 0 ||
	    sha_of(o->text, o->text_len, 0, hash) < 0)
		return sq_fail(err, "out of memory");
	n = asprintf(&text, "%s# all %s\n", o->text, hash);
	if (n < 0)
		return sq_fail(err, "out of memory");
	r = sq_sqa_add(o, "MANIFEST", text, (size_t)n, err);
	free(text);
	if (r < 0)
		return -1;
	if (archive_write_close(o->a) != ARCHIVE_OK || write_piece(o) < 0)
		return fail(o, err);
	return 0;
}

/* ---- reading ---- */

static const unsigned char zstd_magic[4] = { 0x28, 0xb5, 0x2f, 0xfd };

int
sq_sqa_probe(const void *head, size_t n)
{
	const unsigned char *h = head;

	if (n >= 4 && memcmp(h, zstd_magic, 4) == 0)
		return 1;
	return n >= TAR_BLOCK && memcmp(h + 257, "ustar", 5) == 0;
}

static int
by_name(const void *a, const void *b)
{
	const struct sq_sqa_member *const *x = a, *const *y = b;

	return strcmp((*x)->name, (*y)->name);
}

static int
add_member(struct sq_sqa *s, struct archive_entry *e, const void *data,
    char *err)
{
	const char *name = archive_entry_pathname(e);
	uint64_t size = (uint64_t)archive_entry_size(e);
	const unsigned char *p = data;
	struct sq_sqa_member *m;

	if (name == NULL || !member_name_ok(name))
		return sq_fail(err, "member '%s': a name that is not allowed",
		    name == NULL ? "?" : name);
	if (archive_entry_filetype(e) != AE_IFREG ||
	    archive_entry_hardlink(e) != NULL || archive_entry_sparse_count(e))
		return sq_fail(err, "member '%s': not a plain file", name);
	if (size > 0 && (p < s->map || size > s->size ||
	    (uint64_t)(p - s->map) > s->size - size))
		return sq_fail(err, "member '%s': not whole", name);
	if (s->n >= MAX_MEMBERS)
		return sq_fail(err, "too many members");
	if ((s->n & (s->n - 1)) == 0) {		/* full at powers of two */
		m = realloc(s->member, (s->n == 0 ? 1 : 2 * s->n) *
		    sizeof(*m));
		if (m == NULL)
			return sq_fail(err, "out of memory");
		s->member = m;
	}
	m = &s->member[s->n];
	if ((m->name = strdup(name)) == NULL)
		return sq_fail(err, "out of memory");
	m->offset = size > 0 ? (uint64_t)(p - s->map) : 0;
	m->size = size;
	s->n++;
	return 0;
}

/*
 * The archive is read from the mapping, uncompressed, as one block: libarchive
 * then hands out pointers into it, and skips data without touching them.
 */
static int
read_members(struct sq_sqa *s, char *err)
{
	struct archive *a = archive_read_new();
	struct archive_entry *e;
	const void *data;
	la_int64_t offset;
	size_t n;
	int r = -1, got;

	if (a == NULL || archive_read_support_format_tar(a) != ARCHIVE_OK ||
	    archive_read_open_memory(a, s->map, s->size) != ARCHIVE_OK) {
		sq_fail(err, "cannot read it as an archive");
		goto done;
	}
	while ((got = archive_read_next_header(a, &e)) == ARCHIVE_OK) {
		data = NULL;
		if (archive_entry_size(e) > 0 &&
		    (archive_read_data_block(a, &data, &n, &offset) !=
		    ARCHIVE_OK || offset != 0)) {
			sq_fail(err, "member '%s': not whole",
			    archive_entry_pathname(e));
			goto done;
		}
		if (add_member(s, e, data, err) < 0)
			goto done;
	}
	if (got != ARCHIVE_EOF)
		sq_fail(err, "damaged: %s", archive_error_string(a));
	else if (s->n == 0 ||
	    strcmp(s->member[s->n - 1].name, "MANIFEST") != 0)
		sq_fail(err, "no MANIFEST at its end: not a whole artifact");
	else
		r = 0;
done:
	archive_read_free(a);
	return r;
}

static int
sort_members(struct sq_sqa *s, char *err)
{
	size_t i;

	if ((s->sorted = calloc(s->n, sizeof(*s->sorted))) == NULL)
		return sq_fail(err, "out of memory");
	for (i = 0; i < s->n; i++)
		s->sorted[i] = &s->member[i];
	qsort(s->sorted, s->n, sizeof(*s->sorted), by_name);
	for (i = 1; i < s->n; i++)
		if (strcmp(s->sorted[i - 1]->name, s->sorted[i]->name) == 0)
			return sq_fail(err, "member '%s' occurs twice",
			    s->sorted[i]->name);
	return 0;
}

/* Replaces a descriptor of a .sqa.zst by one of a temporary .sqa. */
static int
expand(int fd, char *err)
{
	ZSTD_DCtx *ctx = ZSTD_createDCtx();
	size_t insize = ZSTD_DStreamInSize(), outsize = ZSTD_DStreamOutSize();
	void *in = malloc(insize), *out = malloc(outsize);
	ZSTD_inBuffer ib = { in, 0, 0 };
	ZSTD_outBuffer ob;
	size_t r = 1;
	ssize_t got;
	int tmp = sq_temp_file();

	if (ctx == NULL || in == NULL || out == NULL || tmp < 0) {
		sq_fail_errno(err, "cannot make a temporary file");
		goto fail;
	}
	while ((got = sq_read_full(fd, in, insize)) > 0) {
		for (ib.pos = 0, ib.size = (size_t)got; ib.pos < ib.size; ) {
			ob = (ZSTD_outBuffer){ out, outsize, 0 };
			r = ZSTD_decompressStream(ctx, &ob, &ib);
			if (ZSTD_isError(r)) {
				sq_fail(err, "damaged: %s",
				    ZSTD_getErrorName(r));
				goto fail;
			}
			if (sq_write_full(tmp, out, ob.pos) < 0) {
				sq_fail_errno(err, "temporary file");
				goto fail;
			}
		}
	}
	if (got < 0 || r != 0) {
		sq_fail(err, "the compressed data stop before their end");
		goto fail;
	}
	goto done;
fail:
	if (tmp >= 0)
		close(tmp);
	tmp = -1;
done:
	ZSTD_freeDCtx(ctx);
	free(in);
	free(out);
	return tmp;
}

static int
map_file(struct sq_sqa *s, const char *path, char *err)
{
	unsigned char head[4];
	struct stat st;
	void *p;
	int tmp;

	s->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (s->fd < 0)
		return sq_fail_errno(err, "cannot open");
	if (sq_pread_full(s->fd, head, 4, 0) == 4 &&
	    memcmp(head, zstd_magic, 4) == 0) {
		if ((tmp = expand(s->fd, err)) < 0)
			return -1;
		close(s->fd);
		s->fd = tmp;
	}
	if (fstat(s->fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size == 0)
		return sq_fail(err, "empty, or not a regular file");
	if ((p = sq_map_file(s->fd, (size_t)st.st_size)) == NULL)
		return sq_fail_errno(err, "cannot map");
	s->map = p;
	s->size = (uint64_t)st.st_size;
	return 0;
}

struct sq_sqa *
sq_sqa_open(const char *path, char *err)
{
	struct sq_sqa *s = calloc(1, sizeof(*s));
	char why[SQ_ERR] = "out of memory";

	if (s != NULL)
		s->fd = -1;
	if (s != NULL && map_file(s, path, why) == 0 &&
	    read_members(s, why) == 0 && sort_members(s, why) == 0)
		return s;
	sq_sqa_close(s);
	sq_fail(err, "'%s': %s", path, why);
	return NULL;
}

void
sq_sqa_close(struct sq_sqa *s)
{
	size_t i;

	if (s == NULL)
		return;
	for (i = 0; i < s->n; i++)
		free(s->member[i].name);
	free(s->member);
	free(s->sorted);
	if (s->map != NULL)
		munmap((void *)(uintptr_t)s->map, s->size);
	if (s->fd >= 0)
		close(s->fd);
	free(s);
}

const struct sq_sqa_member *
sq_sqa_find(const struct sq_sqa *s, const char *name)
{
	struct sq_sqa_member key = { .name = (char *)(uintptr_t)name };
	const struct sq_sqa_member *kp = &key;
	struct sq_sqa_member **m;

	m = bsearch(&kp, s->sorted, s->n, sizeof(*s->sorted), by_name);
	return m == NULL ? NULL : *m;
}

/* One line of MANIFEST: the hash and the name of member i. */
static int
verify_member(const struct sq_sqa *s, size_t i, const char *line, size_t len,
    char *err)
{
	const struct sq_sqa_member *m = &s->member[i];
	char want[SHA_TEXT], *end;
	int n, r;

	if (sha_of(s->map + m->offset, m->size, 1, want) < 0)
		return sq_fail(err, "out of memory");
	if ((n = asprintf(&end, "%s  %s", want, m->name)) < 0)
		return sq_fail(err, "out of memory");
	r = (size_t)n == len && memcmp(end, line, len) == 0;
	free(end);
	return r ? 0 : sq_fail(err, "member '%s': does not match MANIFEST",
	    m->name);
}

int
sq_sqa_verify(const struct sq_sqa *s, char *err)
{
	const struct sq_sqa_member *m = &s->member[s->n - 1];
	const char *text = (const char *)s->map + m->offset;
	const char *end = text + m->size, *p = text, *nl;
	char hash[SHA_TEXT], last[SHA_TEXT + 16];
	size_t i;
	int n;

	for (i = 0; i + 1 < s->n; i++, p = nl + 1) {
		nl = memchr(p, '\n', (size_t)(end - p));
		if (nl == NULL)
			return sq_fail(err, "MANIFEST: a line is missing");
		if (verify_member(s, i, p, (size_t)(nl - p), err) < 0)
			return -1;
	}
	if (sha_of(text, (size_t)(p - text), 0, hash) < 0)
		return sq_fail(err, "out of memory");
	n = snprintf(last, sizeof(last), "# all %s\n", hash);
	if (end - p != n || memcmp(p, last, (size_t)n) != 0)
		return sq_fail(err, "MANIFEST: does not match itself");
	return 0;
}
