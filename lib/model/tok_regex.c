/*
 * What pre-tokenizers and normalizers look for: a regular expression, matched
 * with PCRE2, or plain bytes.
 *
 * The expression comes from a file that may be hostile, so matching is bound
 * in three ways.  PCRE2 sees a window of the subject at first, and a larger
 * one only when the match runs into its end (partial matching says so): the
 * work of one call is bounded by the window.  In a window the number of
 * backtracking steps is limited.  And a clock of this thread is looked at
 * whenever a window grows, and now and then otherwise: usual expressions need
 * a thirtieth of the time allowed.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "model/tok.h"

#define PATTERN_MAX	65536	/* bytes of an expression */
#define WINDOW		1024	/* bytes that a call looks at, to begin with */
#define STEPS		16	/* per byte of a window, and 1000 */
#define STARTS		(1u << 20)	/* window x places to start, at most */
#define SECONDS		1.0	/* for a text, and in addition for each byte: */
#define SECONDS_BYTE	1e-6

static int
pcre2_reason(int code, char *err, const char *what)
{
	PCRE2_UCHAR text[160];

	pcre2_get_error_message(code, text, sizeof(text));
	return sq_fail(err, "%s: %s", what, (char *)text);
}

int
sq_tok_pat_regex(struct sq_tok_pat *p, const char *re, size_t n, char *err)
{
	pcre2_compile_context *cc;
	struct sq_tok_buf text = { 0 };
	char why[SQ_ERR];
	PCRE2_SIZE at;
	int code;

	if (n == 0 || n > PATTERN_MAX)
		return sq_fail(err, "pattern: %s", n ? "too long" : "empty");
	if (sq_tok_onig(re, n, &text, why) < 0) {
		sq_tok_buf_release(&text);
		return sq_fail(err, "pattern '%.80s': %s", re, why);
	}
	if ((cc = pcre2_compile_context_create(NULL)) == NULL) {
		sq_tok_buf_release(&text);
		return sq_fail(err, "out of memory");
	}
	pcre2_set_newline(cc, PCRE2_NEWLINE_LF);
	p->re = pcre2_compile((PCRE2_SPTR)text.s, text.n, PCRE2_UTF |
	    PCRE2_UCP | PCRE2_MULTILINE | PCRE2_USE_OFFSET_LIMIT |
	    PCRE2_NEVER_BACKSLASH_C, &code, &at, cc);
	pcre2_compile_context_free(cc);
	sq_tok_buf_release(&text);
	if (p->re == NULL) {
		pcre2_reason(code, why, "not understood");
		return sq_fail(err, "pattern '%.80s': %s", re, why);
	}
	/* where there is no JIT, PCRE2 interprets: slower, the same matches */
	pcre2_jit_compile(p->re, PCRE2_JIT_COMPLETE | PCRE2_JIT_PARTIAL_HARD);
	return 0;
}

int
sq_tok_pat_plain(struct sq_tok_pat *p, const char *s, size_t n, char *err)
{
	if (n == 0)
		return sq_fail(err, "pattern: empty");
	if ((p->plain = malloc(n)) == NULL)
		return sq_fail(err, "out of memory");
	memcpy(p->plain, s, n);
	p->n = n;
	return 0;
}

void
sq_tok_pat_release(struct sq_tok_pat *p)
{
	pcre2_code_free(p->re);
	free(p->plain);
	memset(p, 0, sizeof(*p));
}

static double
clock_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

int
sq_tok_matcher_init(struct sq_tok_matcher *m, size_t text, char *err)
{
	memset(m, 0, sizeof(*m));
	m->md = pcre2_match_data_create(1, NULL);
	m->mc = pcre2_match_context_create(NULL);
	if (m->md == NULL || m->mc == NULL)
		return sq_fail(err, "out of memory");
	pcre2_set_heap_limit(m->mc, 65536);	/* KiB */
	m->deadline = clock_now() + SECONDS + SECONDS_BYTE * (double)text;
	return 0;
}

void
sq_tok_matcher_release(struct sq_tok_matcher *m)
{
	pcre2_match_data_free(m->md);
	pcre2_match_context_free(m->mc);
	pcre2_jit_stack_free(m->stack);
	memset(m, 0, sizeof(*m));
}

static int
check_time(struct sq_tok_matcher *m, int now, char *err)
{
	if ((now || (++m->calls & 63) == 0) && clock_now() > m->deadline)
		return sq_fail(err, "the file's regular expression takes too "
		    "long on this text");
	return 0;
}

/* pcre2_match() with a larger stack where the usual one does not do. */
static int
match(const pcre2_code *re, struct sq_tok_matcher *m, const char *s, size_t n,
    size_t from, uint32_t opt)
{
	int rc = pcre2_match(re, (PCRE2_SPTR)s, n, from, opt, m->md, m->mc);

	if (rc != PCRE2_ERROR_JIT_STACKLIMIT || m->stack != NULL)
		return rc;
	if ((m->stack = pcre2_jit_stack_create(1 << 16, 1 << 26, NULL)) == NULL)
		return PCRE2_ERROR_NOMEMORY;
	pcre2_jit_stack_assign(m->mc, NULL, m->stack);
	return pcre2_match(re, (PCRE2_SPTR)s, n, from, opt, m->md, m->mc);
}

/* The first char boundary at or after i. */
static size_t
boundary(const char *s, size_t n, size_t i)
{
	while (i < n && ((unsigned char)s[i] & 0xc0) == 0x80)
		i++;
	return i < n ? i : n;
}

/* The first match that starts at from or later: 1, 0, or -1. */
static int
find_regex(const struct sq_tok_pat *p, struct sq_tok_matcher *m,
    const char *s, size_t n, size_t from, size_t *start, size_t *end,
    char *err)
{
	size_t size = WINDOW, window, last, limit;
	const PCRE2_SIZE *at;
	int rc;

	for (;;) {
		window = n - from > size ? boundary(s, n, from + size) : n;
		limit = from + (size == WINDOW ? size : STARTS / size);
		/* at a window's end a match would not see that there is more */
		last = window < n ? window - 1 : n;
		limit = limit < last ? limit : last;
		pcre2_set_offset_limit(m->mc, limit);
		pcre2_set_match_limit(m->mc, (uint32_t)(1000 +
		    STEPS * (size < STARTS * 64 ? size : STARTS * 64)));
		rc = match(p->re, m, s, window, from, PCRE2_NO_UTF_CHECK |
		    (window < n ? PCRE2_PARTIAL_HARD : 0));
		if (check_time(m, rc == PCRE2_ERROR_PARTIAL, err) < 0)
			return -1;
		if (rc >= 0)
			break;
		if (rc == PCRE2_ERROR_PARTIAL) {
			from = pcre2_get_startchar(m->md);
			size *= 2;
		} else if (rc == PCRE2_ERROR_NOMATCH && limit < n) {
			from = boundary(s, n, limit + 1);
			size = WINDOW;
		} else if (rc == PCRE2_ERROR_NOMATCH) {
			return 0;
		} else {
			return pcre2_reason(rc, err,
			    "the file's regular expression");
		}
	}
	at = pcre2_get_ovector_pointer(m->md);
	*start = at[0];
	*end = at[1];
	return 1;
}

/* In windows, since a sanitizer looks at all of what memmem() may read. */
static int
find_plain(const struct sq_tok_pat *p, const char *s, size_t n, size_t from,
    size_t *start, size_t *end)
{
	const char *at;
	size_t size;

	for (; from < n; from += WINDOW + 1) {
		size = n - from < WINDOW + p->n ? n - from : WINDOW + p->n;
		if ((at = memmem(s + from, size, p->plain, p->n)) == NULL)
			continue;
		*start = (size_t)(at - s);
		*end = *start + p->n;
		return 1;
	}
	return 0;
}

/*
 * An empty match where the last match ended is passed over, as Oniguruma's
 * iterators do; the search goes on after the next character.
 */
int
sq_tok_next(const struct sq_tok_pat *p, struct sq_tok_matcher *m,
    struct sq_tok_scan *c, size_t *start, size_t *end, char *err)
{
	int r;

	while (c->from <= c->n) {
		r = p->re == NULL ?
		    find_plain(p, c->s, c->n, c->from, start, end) :
		    find_regex(p, m, c->s, c->n, c->from, start, end, err);
		if (r <= 0)
			return r;
		/* \K can put the start of a match behind its end */
		if (*start > *end || *start + 1 < c->last)
			return sq_fail(err, "a match of the file's regular "
			    "expression runs backwards");
		if (*start == *end && c->last == *end + 1) {
			c->from = boundary(c->s, c->n, c->from + 1);
			c->from += c->from == c->n && *end == c->n;
			continue;
		}
		c->from = *end;
		c->last = *end + 1;
		return 1;
	}
	return 0;
}
