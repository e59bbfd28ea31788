/* Prompts; see prompts.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/prompts.h"
#include "formats/fmt_json.h"

static unsigned
flags_of(const struct sq_genopt *o)
{
	return SQ_TOK_SPECIAL | (o->no_bos ? 0 : SQ_TOK_POST);
}

/* Up to where the answer begins; malloc'd. */
static char *
conversation(const struct sq_chat *chat, const json_t *messages, char *err)
{
	const char *head = chat == NULL ? "" :
	    chat->form == SQ_CHAT_CHATML ? "<|im_start|>assistant\n" :
	    chat->form == SQ_CHAT_LLAMA3 ?
	    "<|start_header_id|>assistant<|end_header_id|>\n\n" : "";
	char *text = NULL, *all = NULL;
	const json_t *m;
	const char *s;
	size_t i, len;
	FILE *f;

	if (chat != NULL && (text = sq_chat_text(chat, messages, err)) == NULL)
		return NULL;
	if ((f = open_memstream(&all, &len)) == NULL) {
		free(text);
		sq_fail(err, "out of memory");
		return NULL;
	}
	if (text != NULL)
		fputs(text, f);
	json_array_foreach(messages, i, m)
		if (chat == NULL && (s = json_string_value(json_object_get(m,
		    "content"))) != NULL)
			fputs(s, f);
	fputs(head, f);
	free(text);
	if (fclose(f) == 0)
		return all;
	free(all);
	sq_fail(err, "out of memory");
	return NULL;
}

/* A prompt given as its tokens. */
static int
read_ids(struct sq_prompt *p, const json_t *list, char *err)
{
	const json_t *id;
	json_int_t v;
	size_t i;

	p->id = malloc((json_array_size(list) + 1) * sizeof(*p->id));
	if (p->id == NULL)
		return sq_fail(err, "out of memory");
	json_array_foreach(list, i, id) {
		v = json_integer_value(id);
		if (!json_is_integer(id) || v < 0 || v > UINT32_MAX)
			return sq_fail(err, "\"prompt\": entry %zu is not a "
			    "token id", i + 1);
		p->id[p->n++] = (uint32_t)v;
	}
	return 0;
}

int
sq_prompt_json(struct sq_prompt *p, json_t *j,
    const struct sq_genopt *defaults, const struct sq_chat *chat,
    char *err)
{
	const json_t *messages = json_object_get(j, "messages");
	const json_t *list = json_object_get(j, "prompt");
	const char *text = "";

	memset(p, 0, sizeof(*p));
	p->opt = *defaults;
	p->json = json_incref(j);
	if (sq_genopt_json(&p->opt, j, err) < 0)
		return -1;
	p->flags = flags_of(&p->opt);
	if (messages != NULL) {
		p->text = conversation(chat, messages, err);
		if (chat != NULL)
			p->flags &= ~SQ_TOK_POST;
	} else if (json_is_array(list) ? read_ids(p, list, err) < 0 :
	    sq_json_string(j, "prompt", &text, err) < 0) {
		return -1;
	} else if ((p->text = strdup(text)) == NULL) {
		return sq_fail(err, "out of memory");
	}
	if (p->text == NULL)
		return -1;
	p->len = strlen(p->text);
	return 0;
}

int
sq_prompt_text(struct sq_prompt *p, const char *text, size_t len,
    const struct sq_genopt *defaults, char *err)
{
	memset(p, 0, sizeof(*p));
	p->opt = *defaults;
	p->flags = flags_of(defaults);
	p->len = len;
	if ((p->text = malloc(len + 1)) == NULL)
		return sq_fail(err, "out of memory");
	memcpy(p->text, text, len);
	p->text[len] = '\0';
	return 0;
}

int
sq_prompt_read(struct sq_prompt *p, const char *line, size_t len,
    const struct sq_genopt *defaults, const struct sq_chat *chat,
    char *err)
{
	json_t *j;
	int r;

	if (len == 0 || *line != '{')
		return sq_prompt_text(p, line, len, defaults, err);
	memset(p, 0, sizeof(*p));
	if ((j = sq_json_object(line, len, err)) == NULL)
		return -1;
	r = sq_prompt_json(p, j, defaults, chat, err);
	json_decref(j);
	return r;
}

void
sq_prompt_release(struct sq_prompt *p)
{
	free(p->text);
	free(p->id);
	json_decref(p->json);
	memset(p, 0, sizeof(*p));
}
