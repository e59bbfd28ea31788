/*
 * Pre-tokenizers: a text is cut into words, step by step.  A word goes to the
 * next step as soon as it is known, and after the last one to BPE.
 */
#include <string.h>

#include "model/tok.h"

/* A step at work on a piece of text. */
struct cut {
	struct sq_tok_run *run;
	size_t step;			/* of t->split */
	const char *s;
	size_t from, to;		/* held back, when hold is set */
	int hold, first;
	int behavior;
};

static int	 run_step(struct sq_tok_run *, size_t step, const char *s,
		    size_t n, int first);

static int
emit(struct cut *c, size_t from, size_t to)
{
	if (from == to)
		return 0;
	return run_step(c->run, c->step + 1, c->s + from, to - from,
	    c->first && from == 0);
}

static int
flush(struct cut *c)
{
	int r = c->hold ? emit(c, c->from, c->to) : 0;

	c->hold = 0;
	return r;
}

/* Holds a part back: the next one may belong to it. */
static int
hold(struct cut *c, size_t from, size_t to)
{
	if (flush(c) < 0)
		return -1;
	c->from = from;
	c->to = to;
	c->hold = 1;
	return 0;
}

/*
 * Parts arrive from left to right, those that match and those between them
 * (which are never next to each other); was says whether the part before was
 * a match.
 */
static int
part(struct cut *c, size_t from, size_t to, int match, int was)
{
	int join;

	switch (c->behavior) {
	case SPLIT_REMOVED:
		return match ? 0 : emit(c, from, to);
	case SPLIT_CONTIGUOUS:
		join = match == was;
		break;
	case SPLIT_PREVIOUS:
		join = match && !was;
		break;
	case SPLIT_NEXT:
		join = !match && was;
		break;
	default:
		return emit(c, from, to);
	}
	if (!join || !c->hold)
		return hold(c, from, to);
	c->to = to;
	return 0;
}

static int
cut_run(struct cut *c, const struct sq_tok_pat *pat, int invert, size_t n)
{
	struct sq_tok_scan scan = { .s = c->s, .n = n };
	struct sq_tok_run *r = c->run;
	size_t from, to, prev = 0;
	int found, was = 0;

	while ((found = sq_tok_next(pat, &r->match, &scan, &from, &to,
	    r->err)) > 0) {
		if (prev != from) {
			if (part(c, prev, from, invert, was) < 0)
				return -1;
			was = invert;
		}
		if (part(c, from, to, !invert, was) < 0)
			return -1;
		was = !invert;
		prev = to;
	}
	if (found < 0 || (prev != n && part(c, prev, n, invert, was) < 0))
		return -1;
	return flush(c);
}

static int
run_pattern(struct sq_tok_run *r, size_t step, const char *s, size_t n,
    int first)
{
	const struct sq_tok_split *sp = r->t->split + step;
	struct cut c = { .run = r, .step = step, .s = s, .first = first,
	    .behavior = sp->behavior };

	return cut_run(&c, &sp->pat, sp->invert, n);
}

/* A space before what does not begin with one. */
static int
run_prefix(struct sq_tok_run *r, size_t step, const char *s, size_t n,
    int first)
{
	struct sq_tok_buf b = { 0 };
	int ret = -1;

	if (n > 0 && s[0] == ' ')
		return run_step(r, step + 1, s, n, first);
	if (sq_tok_add(&b, " ", 1, r->err) == 0 &&
	    sq_tok_add(&b, s, n, r->err) == 0)
		ret = run_step(r, step + 1, b.s, b.n, first);
	sq_tok_buf_release(&b);
	return ret;
}

/* Metaspace: spaces become U+2581, and words begin with it. */
static int
run_meta(struct sq_tok_run *r, size_t step, const char *s, size_t n, int first)
{
	const struct sq_tok_split *sp = r->t->split + step;
	const struct sq_tok_pat space = { .plain = (char[]){ ' ' }, .n = 1 };
	const char *rep = sp->pat.plain;
	size_t len = sp->pat.n;
	struct sq_tok_buf b = { 0 };
	struct cut c = { .run = r, .step = step, .first = first,
	    .behavior = SPLIT_NEXT };
	int begins = s[0] == ' ' || (n >= len && memcmp(s, rep, len) == 0);
	int ret = -1;

	if (!begins && (sp->scheme == META_ALWAYS ||
	    (sp->scheme == META_FIRST && first)) &&
	    sq_tok_add(&b, rep, len, r->err) < 0)
		goto out;
	if (sq_tok_replace(&space, &r->match, rep, len, s, n, &b, r->err) < 0)
		goto out;
	c.s = b.s;
	ret = sp->split ? cut_run(&c, &sp->pat, 0, b.n) :
	    run_step(r, step + 1, b.s, b.n, first);
out:
	sq_tok_buf_release(&b);
	return ret;
}

/* As deep as there are steps, SQ_TOK_STEPS at most. */
static int
run_step(struct sq_tok_run *r, size_t step, const char *s, size_t n, int first)
{
	if (step == r->t->nsplit)
		return sq_tok_bpe_run(r, s, n);
	switch (r->t->split[step].kind) {
	case SPLIT_PREFIX:
		return run_prefix(r, step, s, n, first);
	case SPLIT_META:
		return run_meta(r, step, s, n, first);
	default:
		return run_pattern(r, step, s, n, first);
	}
}

int
sq_tok_split_run(struct sq_tok_run *r, const char *s, size_t n, int first)
{
	return n == 0 ? 0 : run_step(r, 0, s, n, first);
}
