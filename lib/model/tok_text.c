/* The tokenizer's bytes: buffers, UTF-8, the byte-level alphabet; see tok.h. */
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "model/tok.h"

#define REPLACEMENT	"\xef\xbf\xbd"		/* U+FFFD */

int
sq_tok_add(struct sq_tok_buf *b, const char *s, size_t n, char *err)
{
	/* offsets into a buffer are kept in 32 bits */
	size_t max = b->max ? b->max : UINT32_MAX, need, cap;
	char *p;

	if (n >= max || b->n >= max - n)
		return sq_fail(err, "the text grows beyond %zu bytes", max);
	need = b->n + n + 1;
	if (need > b->cap) {
		cap = b->cap + b->cap / 2 + 64;
		cap = cap < need ? need : cap;
		if ((p = realloc(b->s, cap)) == NULL)
			return sq_fail(err, "out of memory");
		b->s = p;
		b->cap = cap;
	}
	if (n > 0)
		memcpy(b->s + b->n, s, n);
	b->n += n;
	b->s[b->n] = '\0';
	return 0;
}

void
sq_tok_buf_release(struct sq_tok_buf *b)
{
	free(b->s);
	memset(b, 0, sizeof(*b));
}

/*
 * The bytes at s are no character.  How many of them are the beginning of one,
 * which is what a single U+FFFD stands for (the Unicode Standard, 3.9,
 * "substitution of maximal subparts"); *open says that more could follow.
 */
static size_t
subpart(const char *s, size_t n, int *open)
{
	/* continuations that would make any beginning of a character whole */
	static const char *const tail[] = { "\x80\x80\x80", "\xa0\x80\x80",
	    "\x90\x80\x80" };
	size_t len, i, k;
	char c[4];

	*open = 0;
	for (len = n < 3 ? n : 3; len > 0; len--) {
		memcpy(c, s, len);
		for (i = 0; i < sizeof(tail) / sizeof(tail[0]); i++) {
			memcpy(c + len, tail[i], 4 - len);
			k = sq_utf8_len(c, 4);
			if (k > len) {
				*open = len == n;
				return len;
			}
		}
	}
	return 1;
}

int
sq_tok_utf8(struct sq_tok_buf *out, const char *s, size_t n, int last,
    size_t *used, char *err)
{
	size_t i = 0, from = 0, len;
	int open;

	while (i < n) {
		if ((len = sq_utf8_len(s + i, n - i)) > 0) {
			i += len;
			continue;
		}
		if (sq_tok_add(out, s + from, i - from, err) < 0)
			return -1;
		len = subpart(s + i, n - i, &open);
		if (open && !last) {
			*used = i;
			return 0;
		}
		if (sq_tok_add(out, REPLACEMENT, 3, err) < 0)
			return -1;
		from = i += len;
	}
	*used = n;
	return sq_tok_add(out, s + from, n - from, err);
}

/*
 * Latin-1's printable characters stand for themselves; the other bytes, in
 * order, have the characters from U+0100: 00-20 100-120, 7f-a0 121-142, ad 143.
 * Between the first two ranges lie the 94 printable characters of ASCII.
 */
static int
printable(unsigned c)
{
	return (c >= 0x21 && c <= 0x7e) || (c >= 0xa1 && c != 0xad);
}

size_t
sq_tok_byte_char(unsigned char b, char s[2])
{
	unsigned c = b;

	if (!printable(b))
		c = b == 0xad ? 0x143 : 0x100 + b - (b > 0x20 ? 94 : 0);
	if (c < 0x80) {
		s[0] = (char)c;
		return 1;
	}
	s[0] = (char)(0xc0 | c >> 6);
	s[1] = (char)(0x80 | (c & 0x3f));
	return 2;
}

int
sq_tok_char_byte(const char *s, size_t len)
{
	unsigned c = (unsigned char)s[0];

	if (len > 2)
		return -1;
	if (len == 2)
		c = (c & 0x1f) << 6 | ((unsigned char)s[1] & 0x3f);
	if (c < 0x100)
		return printable(c) ? (int)c : -1;
	if (c > 0x143)
		return -1;
	if (c == 0x143)
		return 0xad;
	return (int)(c - 0x100 + (c > 0x120 ? 94 : 0));
}
