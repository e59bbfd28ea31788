/*
 * The product of two matrices: how the work is cut; see product.h.  The
 * workspace has the lines of both factors, or of as much of them as it holds.
 */
#include "base/pool.h"
#include "kernels/x86/product.h"
#include "kernels/x86/sizes.h"

#define TOGETHER	4	/* lines that are laid out side by side */
#define CHUNK		16	/* lines of a that a task multiplies: they
				   stay in the second cache */
#define TASKS		4	/* for each thread, at least */

/* Lines of a factor, laid out or to be. */
struct lines {
	const struct sq_operand *f;
	int down;			/* of a: members are rows */
	enum sq_dtype type;
	int round;
	size_t members, k;
	size_t bytes;			/* of a line */
	size_t first, n;		/* those that are at p */
	char *p;
};

struct run {
	const struct sq_pr_level *lv;
	struct lines a, b;
	size_t a_tasks;			/* of laying out */
	size_t words;			/* of b */
	enum sq_prec prec;
	int add;
	const struct sq_mat *y;
	size_t across, pairs;		/* tasks of a chunk of lines of a, and
					   pairs of panels of each */
};

/* Block `block' of a line. */
static void
lay_block(const struct sq_pr_level *lv, const struct lines *l, size_t line,
    size_t block)
{
	const struct sq_mat *m = &l->f->m;
	size_t size = sq_dtype_size(m->type), first = line * SQ_PR_LINE;
	size_t deep = SQ_PR_LINE * sq_panel_unit(l->type);
	size_t k = block * deep;
	struct sq_pr_square s = { .stride = m->stride, .from = m->type,
	    .to = l->type, .round = l->round,
	    .by_row = l->down != (l->f->lay == SQ_TURNED),
	    .n = least(SQ_PR_LINE, l->members - first),
	    .k = k < l->k ? least(deep, l->k - k) : 0 };

	s.turn = s.by_row != l->down;
	s.p = (const char *)m->p + size * (s.by_row ? first * m->stride + k :
	    k * m->stride + first);
	lv->square(&s, l->p + (line - l->first) * l->bytes +
	    block * SQ_PR_TILE);
}

/* Some lines: where members are columns, they are read side by side. */
static void
lay_lines(const struct sq_pr_level *lv, const struct lines *l, size_t task)
{
	size_t first = l->first + task * TOGETHER, i, block;
	size_t end = least(first + TOGETHER, l->first + l->n);
	size_t blocks = l->bytes / SQ_PR_TILE;

	if (l->down != (l->f->lay == SQ_TURNED)) {
		for (i = first; i < end; i++)
			for (block = 0; block < blocks; block++)
				lay_block(lv, l, i, block);
		return;
	}
	for (block = 0; block < blocks; block++)
		for (i = first; i < end; i++)
			lay_block(lv, l, i, block);
}

static void
do_lay(void *arg, long task, int thread)
{
	const struct run *r = arg;
	size_t t = (size_t)task;

	(void)thread;
	if (t < r->a_tasks)
		lay_lines(r->lv, &r->a, t);
	else
		lay_lines(r->lv, &r->b, t - r->a_tasks);
}

/* A line of a and the next one, of those up to `end', with a pair of panels,
 * from word w on. */
static void
multiply(const struct run *r, size_t line, size_t end, size_t panel, size_t w)
{
	size_t row = (r->a.first + line) * SQ_PR_LINE;
	size_t col = (r->b.first + panel) * SQ_PR_LINE;
	size_t unit = SQ_PR_LINE * sizeof(uint32_t);
	struct sq_pr_block b = { .next_a = r->a.bytes, .next_b = r->b.bytes,
	    .words = least(r->lv->deep, r->words - w),
	    .y = (float *)r->y->p + row * r->y->stride + col,
	    .stride = r->y->stride,
	    .rows = least(2 * SQ_PR_LINE, r->y->rows - row),
	    .cols = least(2 * SQ_PR_LINE, r->y->cols - col),
	    .add = r->add || w > 0 };

	b.next = b.y + (line + 2 < end ? 2 * SQ_PR_LINE * b.stride : 0);
	b.a = r->a.p + line * r->a.bytes + w * unit * (r->a.round ? 2 : 1);
	b.b = r->b.p + panel * r->b.bytes + w * unit;
	if (r->prec == SQ_PREC_BF16)
		r->lv->bf16(&b);
	else
		r->lv->f32(&b);
}

static void
do_multiply(void *arg, long task, int thread)
{
	const struct run *r = arg;
	size_t first = (size_t)task / r->across * CHUNK, i, j, w;
	size_t from = (size_t)task % r->across * r->pairs * 2;
	size_t end = least(first + CHUNK, r->a.n);
	size_t to = least(from + r->pairs * 2, r->b.n);

	(void)thread;
	if (r->lv->begin != NULL)
		r->lv->begin();
	for (w = 0; w < r->words; w += r->lv->deep)
		for (j = from; j < to; j += 2)
			for (i = first; i < end; i += 2)
				multiply(r, i, end, j, w);
	if (r->lv->end != NULL)
		r->lv->end();
}

/* What is laid out now. */
static void
run_lines(struct run *r, struct sq_ctx *c)
{
	size_t chunks = up(r->a.n, CHUNK), pairs = up(r->b.n, 2), n;

	n = pairs * chunks / ((size_t)sq_pool_threads(c->pool) * TASKS);
	r->pairs = n < 1 ? 1 : least(n, pairs);
	r->across = up(pairs, r->pairs);
	sq_pool_run(c->pool, do_multiply, r, (long)(chunks * r->across));
}

static struct lines
lines_of(const struct sq_operand *f, int down, enum sq_dtype type)
{
	struct lines l = { .f = f, .down = down, .type = type };

	l.members = down ? sq_operand_rows(f) : sq_operand_cols(f);
	l.k = down ? sq_operand_cols(f) : sq_operand_rows(f);
	l.bytes = sq_panel_words(l.k, type) * SQ_PR_LINE * sizeof(uint32_t);
	return l;
}

/* Lines from `first' on, as many as there is room for; their tasks. */
static size_t
set_lines(struct lines *l, size_t first, size_t most)
{
	l->first = first;
	l->n = least(most, up(l->members, SQ_PR_LINE) - first);
	return up(l->n, TOGETHER);
}

int
sq_pr_run(const struct sq_pr_level *lv, struct sq_ctx *c,
    const struct sq_operand *a, const struct sq_operand *b, enum sq_prec prec,
    int add, const struct sq_mat *y)
{
	enum sq_dtype type = sq_panel_type(prec);
	struct run r = { .lv = lv, .prec = prec, .add = add, .y = y };
	size_t i, j, na, nb, room = c->work_size, tasks;
	int laid = b->lay == SQ_PANELS;

	if (!sq_product_allows(a, b, prec, y))
		return SQ_UNSUP;
	r.words = sq_panel_words(sq_operand_rows(b), type);
	r.b = lines_of(b, 0, type);
	r.a = lines_of(a, 1, type);
	if (lv->split && prec == SQ_PREC_BF16) {
		/* as many blocks of halves as b has */
		r.a.type = SQ_F32;
		r.a.round = 1;
		r.a.bytes = 2 * r.b.bytes;
	}
	nb = laid ? up(r.b.members, SQ_PR_LINE) : least(up(r.b.members,
	    SQ_PR_LINE), room / 2 / r.b.bytes / 2 * 2);
	room -= laid ? 0 : nb * r.b.bytes;
	na = room / r.a.bytes;
	if (na * SQ_PR_LINE < r.a.members)	/* whole chunks, or pairs */
		na = na < CHUNK ? na / 2 * 2 : na / CHUNK * CHUNK;
	if (na == 0 || nb == 0)
		return SQ_UNSUP;
	r.a.p = (char *)c->work + (laid ? 0 : nb * r.b.bytes);
	r.b.p = laid ? b->m.p : c->work;
	for (j = 0; j * SQ_PR_LINE < r.b.members; j += nb) {
		tasks = set_lines(&r.b, j, nb);
		for (i = 0; i * SQ_PR_LINE < r.a.members; i += na) {
			r.a_tasks = set_lines(&r.a, i, na);
			sq_pool_run(c->pool, do_lay, &r, (long)(r.a_tasks +
			    (laid || i > 0 ? 0 : tasks)));
			run_lines(&r, c);
		}
	}
	return 0;
}

int
sq_pr_panels(const struct sq_pr_level *lv, struct sq_ctx *c,
    const struct sq_operand *b, const struct sq_mat *to)
{
	struct run r = { .lv = lv };
	size_t tasks;

	if (!sq_panels_allows(b, to))
		return SQ_UNSUP;
	r.b = lines_of(b, 0, to->type);
	r.b.p = to->p;
	tasks = set_lines(&r.b, 0, SIZE_MAX);
	sq_pool_run(c->pool, do_lay, &r, (long)tasks);
	return 0;
}
