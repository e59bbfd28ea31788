/* Conversations as text; see chat.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "calib/chat.h"
#include "formats/fmt_json.h"

static int
has(const char *template, const char *literal)
{
	return strstr(template, literal) != NULL;
}

/* In ChatML a system message may stand in the template itself. */
static void
find_system(struct sq_chat *c, const char *template)
{
	static const char before[] = "<|im_start|>system\\n";
	const char *p = template, *end;

	while ((p = strstr(p, before)) != NULL) {
		p += sizeof(before) - 1;
		end = strstr(p, "<|im_end|>");
		if (*p == '\'' || *p == '"' || end == NULL ||
		    (size_t)(end - p) >= sizeof(c->system))
			continue;
		memcpy(c->system, p, (size_t)(end - p));
		c->system[end - p] = '\0';
		return;
	}
}

static void
find_mistral(struct sq_chat *c, const char *t)
{
	c->open = has(t, "' [INST] '") || has(t, "\" [INST] \"") ?
	    " [INST] " : has(t, "'[INST] '") || has(t, "\"[INST] \"") ?
	    "[INST] " : "[INST]";
	c->close = has(t, "' [/INST]'") || has(t, "\" [/INST]\"") ?
	    " [/INST]" : "[/INST]";
	c->answer = has(t, "' ' + message['content']") ||
	    has(t, "\" \" + message[\"content\"]") ? " " : "";
	c->end = has(t, "eos_token + ' '") ? " " : "";
	c->trim_answer = has(t, "message[\"content\"]|trim");
	c->system_first = has(t, "loop.first and system_message");
	c->system_last = has(t, "loop.last and system_message");
}

int
sq_chat_recognize(struct sq_chat *c, const char *template, char *err)
{
	if (has(template, "<|im_start|>") && has(template, "<|im_end|>")) {
		c->form = SQ_CHAT_CHATML;
		c->think = has(template, "last_query_index");
		find_system(c, template);
	} else if (has(template, "<|start_header_id|>") &&
	    has(template, "<|eot_id|>")) {
		c->form = SQ_CHAT_LLAMA3;
		c->trim = has(template, "trim");
		c->date = has(template, "Cutting Knowledge Date");
	} else if (has(template, "[INST]") && has(template, "<<SYS>>")) {
		c->form = SQ_CHAT_LLAMA2;
	} else if (has(template, "[INST]") && has(template, "[/INST]")) {
		c->form = SQ_CHAT_MISTRAL;
		find_mistral(c, template);
	} else {
		return sq_fail(err, "the model's chat template is not one of "
		    "Llama 2, Llama 3, ChatML or Mistral");
	}
	return 0;
}

/* A token of tokenizer_config.json: a text, or an object with one. */
static void
find_token(const json_t *config, const char *key, char token[64])
{
	const json_t *o = json_object_get(config, key);
	const char *s;

	if (json_is_object(o))
		o = json_object_get(o, "content");
	s = json_string_value(o);
	snprintf(token, 64, "%s", s == NULL ? "" : s);
}

/* The template, or of several the default one. */
static const char *
find_template(const json_t *config)
{
	const json_t *t = json_object_get(config, "chat_template"), *one;
	const char *name;
	size_t i;

	if (!json_is_array(t))
		return json_string_value(t);
	json_array_foreach(t, i, one) {
		name = json_string_value(json_object_get(one, "name"));
		if (name != NULL && strcmp(name, "default") == 0)
			return json_string_value(json_object_get(one,
			    "template"));
	}
	return NULL;
}

int
sq_chat_init(struct sq_chat *c, const struct sq_files *files, char *err)
{
	const unsigned char *text, *jinja;
	const char *template;
	json_t *config;
	char *copy = NULL;
	size_t size, n;
	int r;

	memset(c, 0, sizeof(*c));
	text = sq_files_find(files, "tokenizer_config.json", &size);
	if (text == NULL)
		return sq_fail(err, "the model has no tokenizer_config.json");
	config = sq_json_object((const char *)text, size, err);
	if (config == NULL)
		return -1;
	find_token(config, "bos_token", c->bos);
	find_token(config, "eos_token", c->eos);
	template = find_template(config);
	jinja = sq_files_find(files, "chat_template.jinja", &n);
	if (jinja != NULL)
		template = copy = strndup((const char *)jinja, n);
	if (template == NULL)
		r = sq_fail(err, "the model has no chat template");
	else
		r = sq_chat_recognize(c, template, err);
	free(copy);
	json_decref(config);
	return r;
}

struct message {
	const char *role, *text;	/* text: len bytes */
	size_t len;
};

static struct message
trimmed(struct message m, int left)
{
	static const char blanks[] = " \t\r\n\v\f";

	while (m.len > 0 && strchr(blanks, m.text[m.len - 1]) != NULL)
		m.len--;
	while (left && m.len > 0 && strchr(blanks, m.text[0]) != NULL) {
		m.text++;
		m.len--;
	}
	return m;
}

static int
read_message(const struct sq_chat *c, const json_t *o, struct message *m,
    char *err)
{
	const json_t *text = json_object_get(o, "content");

	m->role = json_string_value(json_object_get(o, "role"));
	m->text = json_string_value(text);
	if (m->role == NULL || m->text == NULL)
		return sq_fail(err, "a message without a role or a text as "
		    "its content");
	m->len = json_string_length(text);
	if (strlen(m->text) != m->len)
		return sq_fail(err, "a zero byte in a message");
	if (c->trim)
		*m = trimmed(*m, 1);
	return 0;
}

static int
is(const struct message *m, const char *role)
{
	return strcmp(m->role, role) == 0;
}

/* What is common to all forms: a system message at most first, then users and
 * assistants in turn. */
static int
check_roles(const struct message *m, size_t n, char *err)
{
	size_t i, first = n > 0 && is(&m[0], "system");

	for (i = first; i < n; i++)
		if (!is(&m[i], (i - first) % 2 == 0 ? "user" : "assistant"))
			return sq_fail(err, "message %zu is of '%.40s', where "
			    "user and assistant take turns", i + 1,
			    m[i].role);
	return n == first ? sq_fail(err, "a conversation without messages") :
	    0;
}

static void
put(FILE *out, const char *before, const struct message *m,
    const char *after)
{
	fputs(before, out);
	fwrite(m->text, 1, m->len, out);
	fputs(after, out);
}

/* The last place of a needle among the first n bytes, or NULL. */
static const char *
find_last(const char *s, size_t n, const char *needle)
{
	size_t k = strlen(needle), i;

	for (i = n < k ? 0 : n - k + 1; i > 0; i--)
		if (memcmp(s + i - 1, needle, k) == 0)
			return s + i - 1;
	return NULL;
}

/* An answer of a model that thinks: what it thought is kept in the last turn
 * alone, and there is always such a place. */
static void
put_thought(FILE *out, const struct message *m, int last)
{
	static const char open[] = "<think>", close[] = "</think>";
	const char *text = find_last(m->text, m->len, close), *from = m->text;
	const char *to = strstr(m->text, close);

	if (text != NULL) {
		while (to > from && to[-1] == '\n')
			to--;
		if (find_last(from, (size_t)(to - from), open) != NULL)
			from = find_last(from, (size_t)(to - from), open) +
			    strlen(open);
		from += strspn(from, "\n");
		text += strlen(close);
	} else {
		to = from;
		text = m->text;
	}
	if (last)
		fprintf(out, "<think>\n%.*s\n</think>\n\n",
		    from < to ? (int)(to - from) : 0, from);
	if (last || text != m->text)
		text += strspn(text, "\n");
	fputs(text, out);
	fputs("<|im_end|>\n", out);
}

static void
put_chatml(FILE *out, const struct sq_chat *c, const struct message *m,
    size_t n)
{
	size_t i;

	if (!is(&m[0], "system") && c->system[0] != '\0')
		fprintf(out, "<|im_start|>system\n%s<|im_end|>\n", c->system);
	for (i = 0; i < n; i++) {
		fprintf(out, "<|im_start|>%s\n", m[i].role);
		if (c->think && is(&m[i], "assistant"))
			put_thought(out, &m[i], i == n - 1);
		else
			put(out, "", &m[i], "<|im_end|>\n");
	}
}

static void
put_llama3(FILE *out, const struct sq_chat *c, const struct message *m,
    size_t n)
{
	size_t i = 0;

	fputs(c->bos, out);
	if (c->date) {
		fputs("<|start_header_id|>system<|end_header_id|>\n\n"
		    "Cutting Knowledge Date: December 2023\n"
		    "Today Date: 26 Jul 2024\n\n", out);
		if (is(&m[0], "system"))
			put(out, "", &m[i++], "");
		fputs("<|eot_id|>", out);
	}
	for (; i < n; i++) {
		fprintf(out, "<|start_header_id|>%s<|end_header_id|>\n\n",
		    m[i].role);
		put(out, "", &m[i], "<|eot_id|>");
	}
}

/* Blanks around what a user says go; a system message is part of that. */
static void
put_llama2(FILE *out, const struct sq_chat *c, const struct message *m,
    size_t n)
{
	size_t i, first = is(&m[0], "system");
	struct message said;

	for (i = first; i < n; i++) {
		said = trimmed(m[i], i != first || first == 0);
		if (is(&m[i], "assistant")) {
			put(out, " ", &said, " ");
			fputs(c->eos, out);
			continue;
		}
		fprintf(out, "%s[INST] ", c->bos);
		if (i == first && first > 0)
			put(out, "<<SYS>>\n", &m[0], "\n<</SYS>>\n\n");
		put(out, "", &said, " [/INST]");
	}
}

static int
put_mistral(FILE *out, const struct sq_chat *c, const struct message *m,
    size_t n, char *err)
{
	size_t i, first = is(&m[0], "system"), last = n - 1;
	struct message said;

	if (first && !c->system_first && !c->system_last)
		return sq_fail(err, "the model's chat template has no place "
		    "for a system message");
	/* With the last message: only if that is a user's. */
	if (c->system_first)
		last = first;
	fputs(c->bos, out);
	for (i = first; i < n; i++) {
		if (is(&m[i], "assistant")) {
			said = c->trim_answer ? trimmed(m[i], 1) : m[i];
			put(out, c->answer, &said, c->eos);
			fputs(c->end, out);
			continue;
		}
		fputs(c->open, out);
		if (first && i == last)
			put(out, "", &m[0], "\n\n");
		put(out, "", &m[i], c->close);
	}
	return 0;
}

static int
put_all(FILE *out, const struct sq_chat *c, const struct message *m,
    size_t n, char *err)
{
	switch (c->form) {
	case SQ_CHAT_CHATML:
		put_chatml(out, c, m, n);
		return 0;
	case SQ_CHAT_LLAMA3:
		put_llama3(out, c, m, n);
		return 0;
	case SQ_CHAT_LLAMA2:
		put_llama2(out, c, m, n);
		return 0;
	default:
		return put_mistral(out, c, m, n, err);
	}
}

char *
sq_chat_text(const struct sq_chat *c, const json_t *messages, char *err)
{
	size_t n = json_array_size(messages), i, size;
	struct message *m = calloc(n + 1, sizeof(*m));
	char *text = NULL;
	FILE *out = open_memstream(&text, &size);
	int r = 0;

	if (m == NULL || out == NULL)
		r = sq_fail(err, "out of memory");
	for (i = 0; r == 0 && i < n; i++)
		r = read_message(c, json_array_get(messages, i), &m[i], err);
	if (r == 0)
		r = check_roles(m, n, err);
	if (r == 0)
		r = put_all(out, c, m, n, err);
	if (out != NULL && fclose(out) != 0 && r == 0)
		r = sq_fail(err, "out of memory");
	free(m);
	if (r == 0)
		return text;
	free(text);
	return NULL;
}
