/* Items from files; see task.h. */
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "eval/task.h"
#include "formats/fmt_csv.h"
#include "formats/fmt_json.h"

#define MAX_FILE	((size_t)1 << 30)
#define MAX_OPTIONS	64

const char *const sq_task_kinds[] = { "choice", "mmlu", "hellaswag",
	"lambada", "free", "longbench", "needle", NULL };

struct sq_item *
sq_task_add(struct sq_task *t)
{
	struct sq_item *i;

	if ((t->n & (t->n - 1)) == 0) {
		i = realloc(t->item, (t->n == 0 ? 1 : 2 * t->n) * sizeof(*i));
		if (i == NULL)
			return NULL;
		t->item = i;
	}
	i = &t->item[t->n++];
	memset(i, 0, sizeof(*i));
	return i;
}

static void
free_list(char **list, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		free(list[i]);
	free(list);
}

static void
item_release(struct sq_item *i)
{
	free(i->id);
	free(i->group);
	free(i->prompt);
	free_list(i->option, i->noptions);
	free_list(i->answer, i->nanswers);
	free_list(i->classes, i->nclasses);
}

void
sq_task_release(struct sq_task *t)
{
	size_t i;

	for (i = 0; i < t->n; i++)
		item_release(&t->item[i]);
	free(t->item);
	free(t->name);
	memset(t, 0, sizeof(*t));
}

/* A copy of `a' with `b' after it. */
static char *
join(const char *a, const char *b)
{
	size_t n = strlen(a), m = strlen(b);
	char *s = malloc(n + m + 1);

	if (s != NULL) {
		memcpy(s, a, n);
		memcpy(s + n, b, m + 1);
	}
	return s;
}

static int
push(char ***list, size_t *n, char *s)
{
	char **p = s == NULL ? NULL : realloc(*list, (*n + 1) * sizeof(*p));

	if (p == NULL) {
		free(s);
		return -1;
	}
	*list = p;
	p[(*n)++] = s;
	return 0;
}

/* The strings of an array, or one string, with `before' before each. */
static int
strings(const json_t *o, const char *key, const char *before, char ***list,
    size_t *n, char *err)
{
	const json_t *a = json_object_get(o, key), *v;
	size_t i;

	if (json_is_string(a))
		return push(list, n, join(before, json_string_value(a))) < 0 ?
		    sq_fail(err, "out of memory") : 0;
	if (!json_is_array(a))
		return sq_fail(err, "'%s' is missing, or is no string or "
		    "array", key);
	json_array_foreach(a, i, v) {
		if (!json_is_string(v))
			return sq_fail(err, "'%s' holds what is no string",
			    key);
		if (push(list, n, join(before, json_string_value(v))) < 0)
			return sq_fail(err, "out of memory");
	}
	return 0;
}

static int
read_choice(struct sq_item *it, const json_t *o, char *err)
{
	const char *query;
	uint64_t gold;

	if (sq_json_string(o, "query", &query, err) < 0 ||
	    strings(o, "choices", " ", &it->option, &it->noptions, err) < 0 ||
	    sq_json_uint(o, "gold", &gold, err) < 0)
		return -1;
	if (it->noptions < 2 || it->noptions > MAX_OPTIONS ||
	    gold >= it->noptions)
		return sq_fail(err, "%zu choices, of which number %ju is to "
		    "be right", it->noptions, (uintmax_t)gold);
	it->gold = (size_t)gold;
	/* a question ends, and its answer begins, on lines of their own */
	it->prompt = join(query, query[0] != '\0' &&
	    query[strlen(query) - 1] == '\n' ? "Answer:" : "\nAnswer:");
	return it->prompt == NULL ? sq_fail(err, "out of memory") : 0;
}

static int
read_lambada(struct sq_item *it, const json_t *o, char *err)
{
	const char *context, *word;

	if (sq_json_string(o, "context", &context, err) < 0 ||
	    sq_json_string(o, "continuation", &word, err) < 0)
		return -1;
	it->prompt = strdup(context);
	if (it->prompt == NULL ||
	    push(&it->option, &it->noptions, join(" ", word)) < 0)
		return sq_fail(err, "out of memory");
	return 0;
}

static int
read_free(struct sq_item *it, const json_t *o, char *err)
{
	const char *prompt;

	if (sq_json_string(o, "prompt", &prompt, err) < 0 ||
	    strings(o, json_object_get(o, "answers") != NULL ? "answers" :
	    "answer", "", &it->answer, &it->nanswers, err) < 0)
		return -1;
	it->rule = SQ_EXACT;
	it->make = json_object_get(o, "options") != NULL ? 3 : 10;
	it->prompt = strdup(prompt);
	return it->prompt == NULL ? sq_fail(err, "out of memory") : 0;
}

/* LongBench's data sets, how each is scored and how long an answer may be. */
static const struct {
	const char *name;
	enum sq_answer_rule rule;
	size_t make;
} longbench[] = {
	{ "narrativeqa", SQ_F1, 128 }, { "qasper", SQ_F1, 128 },
	{ "multifieldqa_en", SQ_F1, 64 }, { "hotpotqa", SQ_F1, 32 },
	{ "2wikimqa", SQ_F1, 32 }, { "musique", SQ_F1, 32 },
	{ "triviaqa", SQ_F1, 32 },
	{ "gov_report", SQ_ROUGE_L, 512 }, { "qmsum", SQ_ROUGE_L, 512 },
	{ "multi_news", SQ_ROUGE_L, 512 }, { "samsum", SQ_ROUGE_L, 128 },
	{ "trec", SQ_CLASSIFY, 64 },
	{ "passage_retrieval_en", SQ_RETRIEVE, 32 },
	{ "passage_count", SQ_COUNT, 32 },
	{ "lcc", SQ_EDIT, 64 }, { "repobench-p", SQ_EDIT, 64 },
};

static int
read_longbench(struct sq_item *it, const json_t *o, char *err)
{
	const char *input, *context, *set;
	size_t i, n = sizeof(longbench) / sizeof(longbench[0]), len;

	if (sq_json_string(o, "input", &input, err) < 0 ||
	    sq_json_string(o, "context", &context, err) < 0 ||
	    sq_json_string(o, "dataset", &set, err) < 0 ||
	    strings(o, "answers", "", &it->answer, &it->nanswers, err) < 0)
		return -1;
	if (json_is_array(json_object_get(o, "all_classes")) &&
	    strings(o, "all_classes", "", &it->classes, &it->nclasses,
	    err) < 0)
		return -1;
	/* "set_e" is scored as "set" */
	for (i = 0; i < n; i++) {
		len = strlen(longbench[i].name);
		if (strncmp(set, longbench[i].name, len) == 0 &&
		    (set[len] == '\0' || strcmp(set + len, "_e") == 0))
			break;
	}
	if (i == n)
		return sq_fail(err, "data set '%s': not one that can be "
		    "scored", set);
	it->rule = longbench[i].rule;
	it->make = longbench[i].make;
	it->group = strdup(set);
	if (asprintf(&it->prompt, it->rule == SQ_EDIT ? "%s%s" :
	    "%s\n\nQuestion: %s\nAnswer:", context, input) < 0)
		it->prompt = NULL;
	return it->prompt == NULL || it->group == NULL ?
	    sq_fail(err, "out of memory") : 0;
}

static int
json_line(struct sq_task *t, const char *line, size_t len, size_t number,
    char *err)
{
	json_t *o = sq_json_object(line, len, err), *id;
	struct sq_item *it;
	char text[32];
	int r = -1;

	if (o == NULL)
		return -1;
	if ((it = sq_task_add(t)) == NULL) {
		sq_fail(err, "out of memory");
		goto out;
	}
	id = json_object_get(o, json_object_get(o, "_id") ? "_id" : "id");
	snprintf(text, sizeof(text), "%zu", number);
	it->id = strdup(json_is_string(id) ? json_string_value(id) : text);
	r = t->kind == SQ_CHOICE ? read_choice(it, o, err) :
	    t->kind == SQ_LAMBADA ? read_lambada(it, o, err) :
	    t->kind == SQ_FREE ? read_free(it, o, err) :
	    read_longbench(it, o, err);
out:
	json_decref(o);
	return r;
}

/* The next line of text, its length without the newline; NULL at the end. */
static const char *
next_line(const char **text, size_t *left, size_t *len)
{
	const char *line = *text, *end;

	if (*left == 0)
		return NULL;
	end = memchr(line, '\n', *left);
	*len = end == NULL ? *left : (size_t)(end - line);
	*left -= *len + (end != NULL);
	*text = line + *len + (end != NULL);
	return line;
}

static int
read_lines(struct sq_task *t, const char *text, size_t left, char *err)
{
	const char *line;
	size_t len, number = 0;

	while ((line = next_line(&text, &left, &len)) != NULL) {
		number++;
		if (len > 0 && json_line(t, line, len, number, err) < 0)
			return sq_fail(err, "line %zu: %s", number, err);
	}
	return 0;
}

static int
read_hellaswag(struct sq_task *t, const char *text, size_t left, char *err)
{
	struct sq_item *it = NULL;
	const char *line;
	size_t len, number = 0;
	char *s, id[32];

	while ((line = next_line(&text, &left, &len)) != NULL) {
		if ((s = strndup(line, len)) == NULL)
			return sq_fail(err, "out of memory");
		if (number % 6 == 0) {
			snprintf(id, sizeof(id), "%zu", number / 6 + 1);
			if ((it = sq_task_add(t)) == NULL) {
				free(s);
				return sq_fail(err, "out of memory");
			}
			it->id = strdup(id);
			it->prompt = s;
		} else if (number % 6 == 1) {
			it->gold = (size_t)(s[0] - '0');
			len = strlen(s);
			free(s);
			if (len != 1 || it->gold > 3)
				return sq_fail(err, "line %zu: not 0, 1, 2 or "
				    "3", number + 1);
		} else {
			char *o = join(" ", s);

			free(s);
			if (push(&it->option, &it->noptions, o) < 0)
				return sq_fail(err, "out of memory");
		}
		number++;
	}
	if (number % 6 != 0)
		return sq_fail(err, "%zu lines are not a multiple of 6",
		    number);
	return 0;
}

/* One question of MMLU as text; its answer too, where it is an example. */
static void
mmlu_text(FILE *f, const struct sq_csv_row *r, int with_answer)
{
	size_t i;

	fprintf(f, "%s\n", r->field[0]);
	for (i = 0; i < 4; i++)
		fprintf(f, "%c. %s\n", (int)('A' + i), r->field[1 + i]);
	fprintf(f, "Answer:");
	if (with_answer)
		fprintf(f, " %c\n\n", 'A' + atoi(r->field[5]));
}

static int
mmlu_ok(const struct sq_csv_row *r)
{
	return r->n == 6 && strlen(r->field[5]) == 1 &&
	    r->field[5][0] >= '0' && r->field[5][0] <= '3';
}

/* Rows of a file in the form question, choice0 .. choice3, answer. */
static int
mmlu_load(struct sq_csv *csv, int dir, const char *name, char *err)
{
	size_t len, i;
	char *text = sq_read_file(dir, name, MAX_FILE, &len, err);
	int r;

	if (text == NULL)
		return -1;
	r = sq_csv_parse(csv, text, len, err);
	free(text);
	if (r < 0)
		return sq_fail(err, "'%s': %s", name, err);
	for (i = 1; i < csv->n; i++)
		if (!mmlu_ok(&csv->row[i])) {
			sq_csv_release(csv);
			return sq_fail(err, "'%s': row %zu is not a question, "
			    "four answers and 0 to 3", name, i + 1);
		}
	return 0;
}

static int
mmlu_item(struct sq_task *t, const struct sq_csv_row *row,
    const struct sq_csv *dev, size_t shots, const char *subject, size_t number,
    char *err)
{
	struct sq_item *it = sq_task_add(t);
	size_t len, i;
	char words[128];
	FILE *f;

	if (it == NULL || (f = open_memstream(&it->prompt, &len)) == NULL)
		return sq_fail(err, "out of memory");
	snprintf(words, sizeof(words), "%s", subject);
	for (i = 0; words[i] != '\0'; i++)
		if (words[i] == '_')
			words[i] = ' ';
	fprintf(f, "The following are multiple choice questions (with "
	    "answers) about %s.\n\n", words);
	for (i = 0; i < shots; i++)
		mmlu_text(f, &dev->row[1 + i], 1);
	mmlu_text(f, row, 0);
	if (fclose(f) != 0)
		return sq_fail(err, "out of memory");
	it->gold = (size_t)(row->field[5][0] - '0');
	it->group = strdup(subject);
	if (asprintf(&it->id, "%s-%zu", subject, number) < 0)
		it->id = NULL;
	for (i = 0; i < 4; i++) {
		snprintf(words, sizeof(words), " %c", (int)('A' + i));
		if (push(&it->option, &it->noptions, strdup(words)) < 0)
			return sq_fail(err, "out of memory");
	}
	return it->group == NULL || it->id == NULL ?
	    sq_fail(err, "out of memory") : 0;
}

/* One subject: SUBJECT_test.csv, examples from ../dev/SUBJECT_dev.csv. */
static int
mmlu_file(struct sq_task *t, int dir, const char *name, size_t shots,
    char *err)
{
	struct sq_csv csv, dev = { 0 };
	char subject[128], path[300];
	size_t i;
	char *s;
	int r = 0;

	snprintf(subject, sizeof(subject), "%s", name);
	if ((s = strstr(subject, "_test.csv")) == NULL &&
	    (s = strstr(subject, ".csv")) == NULL)
		s = subject + strlen(subject);
	*s = '\0';
	if (mmlu_load(&csv, dir, name, err) < 0)
		return -1;
	if (shots > 0) {
		snprintf(path, sizeof(path), "../dev/%s_dev.csv", subject);
		if (mmlu_load(&dev, dir, path, err) < 0) {
			sq_csv_release(&csv);
			return -1;
		}
		if (dev.n < shots + 1)
			r = sq_fail(err, "'%s': fewer than %zu examples", path,
			    shots);
	}
	for (i = 1; r == 0 && i < csv.n; i++)
		r = mmlu_item(t, &csv.row[i], &dev, shots, subject, i, err);
	sq_csv_release(&csv);
	if (shots > 0)
		sq_csv_release(&dev);
	return r;
}

static int
is_csv(const struct dirent *d)
{
	const char *dot = strrchr(d->d_name, '.');

	return dot != NULL && strcmp(dot, ".csv") == 0;
}

static int
read_mmlu(struct sq_task *t, const char *path, size_t shots, char *err)
{
	struct dirent **list;
	int n, i, dir, r = 0;

	if ((n = scandir(path, &list, is_csv, alphasort)) < 0)
		return sq_fail_errno(err, "'%s'", path);
	if ((dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
		r = sq_fail_errno(err, "'%s'", path);
	for (i = 0; i < n; i++) {
		if (r == 0)
			r = mmlu_file(t, dir, list[i]->d_name, shots, err);
		free(list[i]);
	}
	free(list);
	if (dir >= 0)
		close(dir);
	return r;
}

/* Leaves `limit' items, evenly spread. */
static void
thin(struct sq_task *t, size_t limit)
{
	size_t i, j, n = t->n;

	if (limit == 0 || limit >= n)
		return;
	for (i = j = 0; i < n; i++)
		if (j < limit && i == j * n / limit)
			t->item[j++] = t->item[i];
		else
			item_release(&t->item[i]);
	t->n = limit;
}

int
sq_task_cut(struct sq_task *t, const struct sq_shard *s, char *err)
{
	size_t i, start = sq_shard_start(s, t->n);
	size_t n = sq_shard_end(s, t->n) - start;

	if (n == 0)
		return sq_fail(err, "'%s': fewer questions than shards",
		    t->name);
	for (i = 0; i < t->n; i++)
		if (i < start || i >= start + n)
			item_release(&t->item[i]);
	memmove(t->item, t->item + start, n * sizeof(*t->item));
	t->n = n;
	return 0;
}

int
sq_task_read(struct sq_task *t, enum sq_task_kind kind, const char *path,
    const struct sq_task_options *o, char *err)
{
	const char *slash = strrchr(path, '/');
	size_t len, i;
	char *text;
	int r;

	memset(t, 0, sizeof(*t));
	t->kind = kind;
	if ((t->name = strdup(slash != NULL && slash[1] != '\0' ? slash + 1 :
	    path)) == NULL)
		return sq_fail(err, "out of memory");
	if (kind == SQ_MMLU) {
		r = read_mmlu(t, path, o->shots, err);
	} else {
		text = sq_read_file(AT_FDCWD, path, MAX_FILE, &len, err);
		if (text == NULL)
			return -1;
		r = kind == SQ_HELLASWAG ? read_hellaswag(t, text, len, err) :
		    read_lines(t, text, len, err);
		free(text);
		if (r < 0)
			return sq_fail(err, "'%s': %s", path, err);
	}
	if (r == 0 && t->n == 0)
		return sq_fail(err, "'%s': no questions", path);
	for (i = 0; r == 0 && i < t->n; i++)
		if (o->make > 0)
			t->item[i].make = o->make;
	if (r == 0)
		thin(t, o->limit);
	return r;
}
