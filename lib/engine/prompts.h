/* A prompt as it stands on a line: text, or a JSON object. */
#ifndef SQ_ENGINE_PROMPTS_H
#define SQ_ENGINE_PROMPTS_H

#include "calib/chat.h"
#include "engine/genopt.h"

struct sq_prompt {
	char *text;
	size_t len;
	unsigned flags;			/* of sq_tokenizer_encode() */
	struct sq_genopt opt;		/* defaults, and what the object says */
	json_t *json;			/* the object, or NULL */
};

/*
 * A line that begins with { is {"prompt": TEXT, ...}, or {"messages": [...],
 * ...} in the words of the chat template (NULL: their contents, one after
 * another); any other is text.  0, or -1 with the reason; released either way.
 */
int	 sq_prompt_read(struct sq_prompt *, const char *line, size_t len,
	    const struct sq_genopt *defaults, const struct sq_chat *,
	    char *err);

/* The same from an object, which stays the caller's. */
int	 sq_prompt_json(struct sq_prompt *, json_t *,
	    const struct sq_genopt *defaults, const struct sq_chat *,
	    char *err);
void	 sq_prompt_release(struct sq_prompt *);

#endif
