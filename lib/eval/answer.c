/*
 * How right a written answer is; see task.h and sq-metrics(7).  Words are
 * compared as SQuAD and LongBench do: lower case, without punctuation and
 * articles.
 */
#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "eval/task.h"

struct words {
	char *text;		/* the words, each ended by a zero */
	char **word;
	size_t n;
};

static int
words_of(struct words *w, const char *s, size_t len)
{
	static const char *const articles[] = { "a", "an", "the" };
	const char *end = s + len;
	size_t i;
	char *p, *save;

	memset(w, 0, sizeof(*w));
	w->text = malloc(len + 1);
	w->word = malloc((len / 2 + 1) * sizeof(*w->word));
	if (w->text == NULL || w->word == NULL)
		return -1;
	for (p = w->text; s < end; s++)
		if (!ispunct((unsigned char)*s))
			*p++ = (char)tolower((unsigned char)*s);
	*p = '\0';
	for (p = strtok_r(w->text, " \t\r\n\v\f", &save); p != NULL;
	    p = strtok_r(NULL, " \t\r\n\v\f", &save)) {
		for (i = 0; i < 3 && strcmp(p, articles[i]) != 0; i++)
			;
		if (i == 3)
			w->word[w->n++] = p;
	}
	return 0;
}

static void
words_release(struct words *w)
{
	free(w->text);
	free(w->word);
}

static double
harmonic(double common, size_t a, size_t b)
{
	return common == 0 ? 0 : 2 * common / (double)(a + b);
}

static int
by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* F1 of the words in common, each counted as often as both have it. */
static double
f1(struct words *a, struct words *b)
{
	size_t i = 0, j = 0, common = 0;
	int c;

	qsort(a->word, a->n, sizeof(*a->word), by_text);
	qsort(b->word, b->n, sizeof(*b->word), by_text);
	while (i < a->n && j < b->n) {
		c = strcmp(a->word[i], b->word[j]);
		common += c == 0;
		i += c <= 0;
		j += c >= 0;
	}
	return harmonic((double)common, a->n, b->n);
}

/* The length of the longest common subsequence of words. */
static double
rouge_l(const struct words *a, const struct words *b)
{
	size_t *row = calloc(b->n + 1, sizeof(*row)), i, j, up, left;
	double f = 0;

	if (row == NULL)
		return 0;
	for (i = 0; i < a->n; i++) {
		up = 0;			/* of the row before, one left */
		for (j = 0; j < b->n; j++) {
			left = row[j + 1];
			row[j + 1] = strcmp(a->word[i], b->word[j]) == 0 ?
			    up + 1 : left > row[j] ? left : row[j];
			up = left;
		}
	}
	f = harmonic((double)row[b->n], a->n, b->n);
	free(row);
	return f;
}

/* 1 - Levenshtein distance / the longer length, in bytes. */
static double
edit_similarity(const char *a, size_t n, const char *b, size_t m)
{
	size_t *row = malloc((m + 1) * sizeof(*row)), i, j, diagonal, old;
	double s = 0;

	if (row == NULL)
		return 0;
	for (j = 0; j <= m; j++)
		row[j] = j;
	for (i = 1; i <= n; i++) {
		diagonal = row[0];
		row[0] = i;
		for (j = 1; j <= m; j++) {
			old = row[j];
			row[j] = diagonal + (a[i - 1] != b[j - 1]);
			if (old + 1 < row[j])
				row[j] = old + 1;
			if (row[j - 1] + 1 < row[j])
				row[j] = row[j - 1] + 1;
			diagonal = old;
		}
	}
	s = n + m == 0 ? 1 : 1 - (double)row[m] / (double)(n > m ? n : m);
	free(row);
	return s;
}

/* The first line of s that holds more than space, without space around it. */
static const char *
first_line(const char *s, size_t *len)
{
	const char *end;

	while (isspace((unsigned char)*s))
		s++;
	for (end = s; *end != '\0' && *end != '\n'; end++)
		;
	while (end > s && isspace((unsigned char)end[-1]))
		end--;
	*len = (size_t)(end - s);
	return s;
}

static double
exact(const char *said, const char *right)
{
	size_t n, m;
	const char *a = first_line(said, &n), *b = first_line(right, &m);

	return n == m && memcmp(a, b, n) == 0;
}

/* Of the class names that are in the answer, the share of the right one. */
static double
classify(const struct sq_item *it, const char *said, const char *right)
{
	size_t i, found = 0;
	int hit = 0;

	for (i = 0; i < it->nclasses; i++) {
		if (strstr(said, it->classes[i]) == NULL)
			continue;
		if (strcmp(it->classes[i], right) == 0)
			hit = 1;
		/* a part of the right name's own letters is no other name */
		else if (strstr(right, it->classes[i]) != NULL)
			continue;
		found++;
	}
	return hit ? 1 / (double)found : 0;
}

/* Of the numbers in the answer, the share of the first one in `right'. */
static double
numbers(const char *said, const char *right)
{
	size_t found = 0, hits = 0;
	long want;
	char *end;

	while (*right != '\0' && !isdigit((unsigned char)*right))
		right++;
	if (*right == '\0')
		return 0;
	want = strtol(right, NULL, 10);
	while (*said != '\0') {
		if (!isdigit((unsigned char)*said)) {
			said++;
			continue;
		}
		found++;
		hits += strtol(said, &end, 10) == want;
		said = end;
	}
	return found == 0 ? 0 : (double)hits / (double)found;
}

/* The first line of code: no fence, no comment. */
static double
code(const char *said, const char *right)
{
	size_t n = 0, m;
	const char *a = said, *b = first_line(right, &m), *line;

	do {
		line = a = first_line(a, &n);
		a += n;
	} while (n > 0 && (memchr(line, '`', n) != NULL || line[0] == '#' ||
	    strncmp(line, "//", 2) == 0));
	return edit_similarity(line, n, b, m);
}

static double
by_words(enum sq_answer_rule rule, const char *said, const char *right)
{
	struct words a = { 0 }, b = { 0 };
	size_t len;
	const char *line = first_line(said, &len);
	double v = 0;

	if (rule != SQ_F1_LINE)
		len = strlen(line);
	if (words_of(&a, line, len) == 0 &&
	    words_of(&b, right, strlen(right)) == 0)
		v = rule == SQ_ROUGE_L ? rouge_l(&a, &b) : f1(&a, &b);
	words_release(&a);
	words_release(&b);
	return v;
}

double
sq_answer_score(const struct sq_item *it, enum sq_answer_rule rule,
    const char *said)
{
	double best = 0, v;
	size_t i;

	for (i = 0; i < it->nanswers; i++) {
		const char *right = it->answer[i];

		v = rule == SQ_EXACT ? exact(said, right) :
		    rule == SQ_CLASSIFY ? classify(it, said, right) :
		    rule == SQ_RETRIEVE || rule == SQ_COUNT ?
		    numbers(said, right) :
		    rule == SQ_EDIT ? code(said, right) :
		    by_words(rule, said, right);
		best = v > best ? v : best;
	}
	return best;
}

struct sq_interval
sq_interval_of(const double *value, size_t n)
{
	struct sq_interval s = { .n = n };
	double sum = 0, sum2 = 0, z = 1.959964, k = (double)n, p, half;
	size_t i;
	int counts = 1;

	for (i = 0; i < n; i++) {
		sum += value[i];
		sum2 += value[i] * value[i];
		counts &= value[i] == 0 || value[i] == 1;
	}
	if (n == 0)
		return (struct sq_interval){ 0, NAN, NAN, NAN, NAN };
	p = s.mean = sum / k;
	s.stderror = n > 1 ? sqrt(fmax(sum2 / k - p * p, 0) / (k - 1)) : 0;
	s.low = p - z * s.stderror;
	s.high = p + z * s.stderror;
	if (counts) {
		half = z / (1 + z * z / k) *
		    sqrt(p * (1 - p) / k + z * z / (4 * k * k));
		p = (p + z * z / (2 * k)) / (1 + z * z / k);
		s.low = p - half;
		s.high = p + half;
	}
	return s;
}
