/*
 * Any bytes as a stream: the reader, the parsers of descriptions and the checks
 * of payloads must say no, or yes, and nothing worse.  What the reader takes is
 * copied, compressed, and the copy must be a stream with the same digest.
 *
 * Hashes would keep a fuzzer out: an input whose first byte is not that of the
 * magic is a list of records in a short form, from which a stream with right
 * hashes is made: type (1 byte), flags (1), length of the description (2),
 * length of the payload (2), what to spoil (1), both.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "formats/fmt_json.h"
#include "formats/fmt_stream.h"
#include "tests/formats/forge_stream.h"

#define MAX_PAYLOAD	((uint64_t)16 << 20)

int	LLVMFuzzerTestOneInput(const uint8_t *, size_t);

/* One record from the short form: the bytes used. */
static size_t
short_form(struct forge *f, const uint8_t *p, size_t n)
{
	size_t json_len = p[2] + 256u * p[3], length = p[4] + 256u * p[5], r;
	struct forge_rec rec = { .type = p[0], .flags = p[1] & 1 };

	if (json_len > n - 7)
		json_len = n - 7;
	if (length > n - 7 - json_len)
		length = n - 7 - json_len;
	rec.json = json_len > 0 ? (const char *)p + 7 : "";
	rec.json_len = json_len;
	rec.payload = p + 7 + json_len;
	rec.length = length;
	if (rec.flags) {		/* P follows from nothing: any */
		rec.stored = rec.payload;
		rec.stored_len = length;
		rec.payload = NULL;
		rec.length = (uint64_t)p[6] << 8 | p[1];
	}
	r = forge_record(f, &rec);
	if (p[6] == 255)
		forge_set(f, r, p[1] % 56, p[0], 1);
	return 7 + json_len + length;
}

static int
input(const uint8_t *p, size_t n)
{
	struct forge f = { 0 };
	size_t used;
	int fd = memfd_create("fuzz", MFD_CLOEXEC);

	if (n > 0 && p[0] == 0x73) {
		forge_put(&f, p, n);
	} else {
		for (; n >= 7 && f.records < 100; p += used, n -= used)
			used = short_form(&f, p, n);
		forge_end(&f);
	}
	if (write(fd, f.p, f.n) != (ssize_t)f.n)
		abort();
	forge_release(&f);
	lseek(fd, 0, SEEK_SET);
	return fd;
}

static void
look(struct sq_in *in)
{
	char err[SQ_ERR];
	struct sq_tensor t, u;
	struct sq_header h, g;
	json_t *o = NULL;
	void *p;

	if (in->type == SQ_TENSOR && sq_tensor_parse(&t, in->desc, in->length,
	    err) == 0) {
		o = sq_tensor_describe(&t);
		if (o != NULL && (sq_tensor_parse(&u, o, in->length, err) < 0
		    || memcmp(&t, &u, sizeof(t)) != 0))
			abort();
		if ((p = sq_in_payload(in, MAX_PAYLOAD)) != NULL)
			(void)sq_tensor_check_data(&t, p, err);
		free(p);
	} else if (in->type == SQ_HEADER && sq_header_parse(&h, in->desc,
	    in->length, err) == 0) {
		o = sq_header_describe(&h);
		if (sq_header_parse(&g, o, in->length, err) < 0 ||
		    memcmp(&g, &h, sizeof(g)) != 0)
			abort();
		if ((p = sq_in_payload(in, MAX_PAYLOAD)) != NULL)
			(void)sq_header_check_data(&h, p, err);
		free(p);
	}
	json_decref(o);
}

/* A copy in a file of its own, or -1 when the stream is refused. */
static int
copy(int fd, int compress, char digest[SQ_DIGEST])
{
	struct sq_in in;
	struct sq_out out;
	int to = memfd_create("copy", MFD_CLOEXEC), r;

	if (sq_in_open(&in, fd) < 0 || sq_out_open(&out, to, compress) < 0)
		abort();
	while ((r = sq_in_next(&in)) > 0)
		if (sq_out_copy(&out, &in) < 0)
			break;
	if (r == 0 && (sq_out_finish(&out) < 0 ||
	    strcmp(in.digest, out.digest) != 0))
		abort();
	if (r != 0 && in.err[0] == '\0')
		abort();
	strcpy(digest, in.digest);
	sq_in_release(&in);
	sq_out_release(&out);
	lseek(to, 0, SEEK_SET);
	if (r != 0) {
		close(to);
		return -1;
	}
	return to;
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct sq_in in;
	char a[SQ_DIGEST], b[SQ_DIGEST];
	int fd = input(p, n), twice, thrice, r;

	if (sq_in_open(&in, fd) < 0)
		abort();
	while ((r = sq_in_next(&in)) > 0)
		look(&in);
	sq_in_release(&in);
	lseek(fd, 0, SEEK_SET);
	if ((twice = copy(fd, 1, a)) >= 0) {
		thrice = copy(twice, 0, b);
		if (thrice < 0 || strcmp(a, b) != 0)
			abort();
		close(thrice);
		close(twice);
	} else if (r == 0)
		abort();
	close(fd);
	return 0;
}
