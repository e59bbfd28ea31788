/*
 * A conversation as the text that a model was trained on: its chat template is
 * not interpreted but recognized, by what sets the forms of Llama 2, Llama 3,
 * ChatML (Qwen) and Mistral apart.
 */
#ifndef SQ_CALIB_CHAT_H
#define SQ_CALIB_CHAT_H

#include <jansson.h>

#include "formats/fmt_records.h"

enum sq_chat_form { SQ_CHAT_CHATML, SQ_CHAT_LLAMA3, SQ_CHAT_LLAMA2,
	SQ_CHAT_MISTRAL };

struct sq_chat {
	enum sq_chat_form form;
	char bos[64], eos[64];
	char system[512];	/* ChatML: when the conversation has none */
	int think;		/* ChatML: an empty thought before an answer */
	int date;		/* Llama 3: dates before the system message */
	int trim;		/* blanks around contents go */
	/* Mistral */
	const char *open, *close, *answer, *end;
	int trim_answer;	/* blanks around that go */
	int system_first, system_last;	/* with which user message it goes */
};

/* -1 with the reason: no template, or one that is not known. */
int	 sq_chat_init(struct sq_chat *, const struct sq_files *, char *err);

/* The same from the template itself. */
int	 sq_chat_recognize(struct sq_chat *, const char *template, char *err);

/* messages: an array of {"role", "content"}.  malloc'd; NULL with the
 * reason. */
char	*sq_chat_text(const struct sq_chat *, const json_t *messages, char *err);

#endif
