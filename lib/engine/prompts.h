/* A prompt as it stands on a line: text, or a JSON object. */
#ifndef SQ_ENGINE_PROMPTS_H
#define SQ_ENGINE_PROMPTS_H

#include "calib/chat.h"
#include "engine/genopt.h"

struct sq_prompt {
	char *text;
	size_t len;
	uint32_t *id;			/* its tokens, where it was given so:
					   text is empty; or NULL */
	size_t n;
	unsigned flags;			/* of sq_tokenizer_encode() */
	struct sq_genopt opt;		/* defaults, and what the object says */
	json_t *json;			/* the object, or NULL */
};

/*
 * A line that begins with { is {"prompt": TEXT, ...}, {"prompt": [ID, ...],
 * ...}, or {"messages": [...], ...} in the words of the chat template (NULL:
 * their contents, one after another); any other is text.  0, or -1 with the
 * reason; released either way.
 */
int	 sq_prompt_read(struct sq_prompt *, const char *line, size_t len,
	    const struct sq_genopt *defaults, const struct sq_chat *,
	    char *err);

/* The same from text alone. */
int	 sq_prompt_text(struct sq_prompt *, const char *text, size_t len,
	    const struct sq_genopt *defaults, char *err);

/* The same from an object, which stays the caller's. */
int	 sq_prompt_json(struct sq_prompt *, json_t *,
	    const struct sq_genopt *defaults, const struct sq_chat *,
	    char *err);
void	 sq_prompt_release(struct sq_prompt *);

#endif
