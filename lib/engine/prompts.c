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

int
sq_prompt_json(struct sq_prompt *p, json_t *j,
    const struct sq_genopt *defaults, const struct sq_chat *chat,
    char *err)
{
	const json_t *messages = json_object_get(j, "messages");
	const char *text;

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
	} else if (sq_json_string(j, "prompt", &text, err) < 0) {
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
sq_prompt_read(struct sq_prompt *p, const char *line, size_t len,
    const struct sq_genopt *defaults, const struct sq_chat *chat,
    char *err)
{
	json_t *j;
	int r;

	memset(p, 0, sizeof(*p));
	if (len > 0 && *line == '{') {
		if ((j = sq_json_object(line, len, err)) == NULL)
			return -1;
		r = sq_prompt_json(p, j, defaults, chat, err);
		json_decref(j);
		return r;
	}
	p->opt = *defaults;
	p->flags = flags_of(defaults);
	p->len = len;
	if ((p->text = malloc(len + 1)) == NULL)
		return sq_fail(err, "out of memory");
	memcpy(p->text, line, len);
	p->text[len] = '\0';
	return 0;
}

void
sq_prompt_release(struct sq_prompt *p)
{
	free(p->text);
	json_decref(p->json);
	memset(p, 0, sizeof(*p));
}
