/*
 * Regular expressions of a tokenizer.json are written for Oniguruma (its own
 * syntax, UTF-8, no options).  PCRE2 understands nearly all of it, but means
 * something else by a few parts; those are rewritten here, and what cannot be
 * rewritten is refused.
 *
 *	Oniguruma	means				becomes
 *	\s \S		White_Space (not U+180E)	\p{White_Space} ...
 *	\w \W \b \B	Alphabetic M Nd Pc, and six	classes, look-arounds
 *			numbers of Latin-1
 *	\h \H		a hexadecimal digit		a class
 *	\v		U+000B				\x0b
 *	\uHHHH		a code point			\x{HHHH}
 *	\p{Han}		the script			\p{sc:Han}
 *	[:alpha:] ...	sets of Unicode			properties
 *	(?m)		the dot matches a newline	(?s)
 *	{,n}		up to n				{0,n}
 *	{1,3}+		repeated, not possessive	{1,}
 *	^ $		at each line			(an option of PCRE2)
 *
 * Sources: Oniguruma's doc/RE, pcre2pattern(3).
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "model/tok.h"

#define WORD_CLASS	"\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}"
#define WORD		WORD_CLASS "\\xb2\\xb3\\xb9\\xbc-\\xbe"
#define NOT_BOUNDARY	"(?:(?<=[" WORD "])(?=[" WORD "])|" \
			"(?<![" WORD "])(?![" WORD "]))"
#define BOUNDARY	"(?:(?<=[" WORD "])(?![" WORD "])|" \
			"(?<![" WORD "])(?=[" WORD "]))"

struct conv {
	const char *s, *end;
	struct sq_tok_buf *out;
	char *err;
};

static int
put(struct conv *c, const char *s)
{
	return sq_tok_add(c->out, s, strlen(s), c->err);
}

/* Copies n bytes of the expression. */
static int
copy(struct conv *c, size_t n)
{
	c->s += n;
	return sq_tok_add(c->out, c->s - n, n, c->err);
}

static size_t
left(const struct conv *c)
{
	return (size_t)(c->end - c->s);
}

static int
refuse(struct conv *c, const char *what)
{
	return sq_fail(c->err, "'%s' is not supported", what);
}

/* 1 when PCRE2 knows a script of this name. */
static int
is_script(const char *name, size_t n)
{
	char re[80];
	int len, e;
	PCRE2_SIZE at;
	pcre2_code *code;

	len = snprintf(re, sizeof(re), "\\p{sc:%.*s}", (int)n, name);
	if (len < 0 || (size_t)len >= sizeof(re))
		return 0;
	code = pcre2_compile((PCRE2_SPTR)re, (size_t)len, PCRE2_UTF, &e, &at,
	    NULL);
	pcre2_code_free(code);
	return code != NULL;
}

/* \p{...} and \P{...}; s is at the p. */
static int
property(struct conv *c)
{
	const char *name = c->s + 2, *close;
	size_t n;

	if (left(c) < 2 || c->s[1] != '{' ||
	    (close = memchr(name, '}', left(c) - 2)) == NULL)
		return refuse(c, "\\p without {}");
	name += *name == '^';
	n = (size_t)(close - name);
	/* PCRE2 takes the bare name for the script's extensions too */
	if (n > 2 && is_script(name, n) &&
	    (put(c, "\\") < 0 || copy(c, (size_t)(name - c->s)) < 0 ||
	    put(c, "sc:") < 0 || copy(c, n + 1) < 0))
		return -1;
	if (c->s <= close && (put(c, "\\") < 0 ||
	    copy(c, (size_t)(close - c->s) + 1) < 0))
		return -1;
	return 0;
}

/* \uHHHH and \xHH; s is at the letter. */
static int
code_point(struct conv *c)
{
	size_t i, max = *c->s == 'u' ? 4 : 2;
	unsigned long v;
	char digits[5] = "", text[16];

	if (*c->s == 'x' && left(c) > 1 && c->s[1] == '{')
		return put(c, "\\") < 0 ? -1 : copy(c, 2);
	for (i = 0; i < max && i + 1 < left(c) &&
	    isxdigit((unsigned char)c->s[i + 1]); i++)
		digits[i] = c->s[i + 1];
	v = strtoul(digits, NULL, 16);
	if (i == 0 || (max == 4 && i < 4))
		return refuse(c, "\\u or \\x without digits");
	if (max == 2 && v > 0x7f)
		return refuse(c, "\\x of a part of a character");
	snprintf(text, sizeof(text), "\\x{%lx}", v);
	c->s += i + 1;
	return put(c, text);
}

/* What an escape becomes that has the same meaning in and out of a class. */
static int
escape_common(struct conv *c)
{
	char name[3] = { '\\', *c->s, '\0' };

	switch (*c->s) {
	case 's': c->s++; return put(c, "\\p{White_Space}");
	case 'S': c->s++; return put(c, "\\P{White_Space}");
	case 'v': c->s++; return put(c, "\\x0b");
	case 'u':
	case 'x':
		return code_point(c);
	case 'p':
	case 'P':
		return property(c);
	default:
		break;
	}
	if (isalpha((unsigned char)*c->s) && !strchr("dDtnrfae", *c->s))
		return refuse(c, name);
	return put(c, "\\") < 0 ? -1 : copy(c, sq_tok_charlen(c->s));
}

/* An escape outside of a class; s is after the backslash. */
static int
escape(struct conv *c)
{
	if (left(c) == 0)
		return sq_fail(c->err, "it ends with a backslash");
	switch (*c->s) {
	case 'w': c->s++; return put(c, "[" WORD "]");
	case 'W': c->s++; return put(c, "[^" WORD "]");
	case 'b': c->s++; return put(c, BOUNDARY);
	case 'B': c->s++; return put(c, NOT_BOUNDARY);
	case 'h': c->s++; return put(c, "[0-9A-Fa-f]");
	case 'H': c->s++; return put(c, "[^0-9A-Fa-f]");
	case 'A': case 'z': case 'Z': case 'G': case 'K': case 'R':
	case 'X': case 'N': case 'k':
		return put(c, "\\") < 0 ? -1 : copy(c, 1);
	default:
		return escape_common(c);
	}
}

static int
class_escape(struct conv *c)
{
	if (left(c) == 0)
		return sq_fail(c->err, "it ends with a backslash");
	switch (*c->s) {
	case 'w': c->s++; return put(c, WORD);
	case 'h': c->s++; return put(c, "0-9A-Fa-f");
	case 'b': c->s++; return put(c, "\\x08");
	default:
		return escape_common(c);
	}
}

/* [:name:] in a class; s is at the bracket. */
static int
posix(struct conv *c)
{
	static const struct {
		const char *name, *set;
	} sets[] = {
		{ "[:alnum:]", "\\p{Alphabetic}\\p{Nd}" },
		{ "[:alpha:]", "\\p{Alphabetic}" },
		{ "[:blank:]", "\\p{Zs}\\t" },
		{ "[:cntrl:]", "\\p{Cc}" },
		{ "[:digit:]", "\\p{Nd}" },
		{ "[:lower:]", "\\p{Lowercase}" },
		{ "[:punct:]", "\\p{P}\\p{S}" },
		{ "[:space:]", "\\p{White_Space}" },
		{ "[:upper:]", "\\p{Uppercase}" },
		{ "[:word:]", WORD_CLASS },
		{ "[:xdigit:]", "0-9A-Fa-f" },
	};
	size_t i, n;

	for (i = 0; i < sizeof(sets) / sizeof(sets[0]); i++) {
		n = strlen(sets[i].name);
		if (left(c) >= n && memcmp(c->s, sets[i].name, n) == 0) {
			c->s += n;
			return put(c, sets[i].set);
		}
	}
	return refuse(c, "a class in a class");
}

/* [...]; s is at the bracket.  A class in a class is Oniguruma's only. */
static int
class(struct conv *c)
{
	int r = 0;

	if (copy(c, 1) < 0 ||
	    (left(c) > 0 && *c->s == '^' && copy(c, 1) < 0) ||
	    (left(c) > 0 && *c->s == ']' && copy(c, 1) < 0))
		return -1;
	while (r == 0 && left(c) > 0 && *c->s != ']') {
		if (*c->s == '\\') {
			c->s++;
			r = class_escape(c);
		} else if (*c->s == '[') {
			r = posix(c);
		} else if (left(c) > 1 && memcmp(c->s, "&&", 2) == 0) {
			r = refuse(c, "&& in a class");
		} else {
			r = copy(c, sq_tok_charlen(c->s));
		}
	}
	if (r == 0 && left(c) == 0)
		return sq_fail(c->err, "a class is not closed");
	return r < 0 ? -1 : copy(c, 1);
}

/* What follows an opening parenthesis: (?i: and its like, or none of it. */
static int
group(struct conv *c)
{
	if (copy(c, 1) < 0)
		return -1;
	if (left(c) > 0 && *c->s == '*')
		return refuse(c, "(*");
	if (left(c) < 2 || *c->s != '?')
		return 0;
	if (copy(c, 1) < 0)
		return -1;
	if (strchr(":=!><'", *c->s))
		return copy(c, 1);
	for (; left(c) > 0 && *c->s != ':' && *c->s != ')'; c->s++) {
		if (!strchr("im-", *c->s))
			return sq_fail(c->err, "'(?%c' is not supported",
			    *c->s);
		if (put(c, *c->s == 'i' ? "i" : *c->s == 'm' ? "s" : "-") < 0)
			return -1;
	}
	return 0;
}

static size_t
number(const struct conv *c, size_t at, unsigned *v)
{
	size_t i = at;

	for (*v = 0; i < left(c) && isdigit((unsigned char)c->s[i]); i++)
		if (*v < 100000)
			*v = *v * 10 + (unsigned)(c->s[i] - '0');
	return i - at;
}

/* {n,m} where it is a repetition; s is at the brace. */
static int
interval(struct conv *c)
{
	size_t i, nlow, nhigh = 0;
	unsigned low, high = 0;
	int comma;
	char text[48], after;

	nlow = number(c, 1, &low);
	i = 1 + nlow;
	comma = i < left(c) && c->s[i] == ',';
	i += (size_t)comma;
	if (comma) {
		nhigh = number(c, i, &high);
		i += nhigh;
	}
	if (nlow + nhigh == 0 || i >= left(c) || c->s[i] != '}')
		return put(c, "\\{") < 0 ? -1 : (c->s++, 0);
	after = i + 1 < left(c) ? c->s[i + 1] : '\0';
	c->s += i + 1;
	if (after == '+') {
		/* X{0,3} or X{1,3} again and again is X{0,} or X{1,} */
		if (low > 1)
			return refuse(c, "{n,m}+");
		c->s++;
		snprintf(text, sizeof(text), "{%u,}", low);
	} else if (!comma && after == '?') {
		return refuse(c, "{n}?");
	} else if (nhigh > 0) {
		snprintf(text, sizeof(text), "{%u,%u}", low, high);
	} else {
		snprintf(text, sizeof(text), "{%u%s}", low, comma ? "," : "");
	}
	return put(c, text);
}

int
sq_tok_onig(const char *re, size_t n, struct sq_tok_buf *out, char *err)
{
	struct conv c = { .s = re, .end = re + n, .out = out, .err = err };
	int r = sq_tok_add(out, "", 0, err);

	while (r == 0 && left(&c) > 0)
		switch (*c.s) {
		case '\\':
			c.s++;
			r = escape(&c);
			break;
		case '[':
			r = class(&c);
			break;
		case '(':
			r = group(&c);
			break;
		case '{':
			r = interval(&c);
			break;
		default:
			r = copy(&c, sq_tok_charlen(c.s));
		}
	return r;
}
