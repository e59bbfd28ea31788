/*
 * The vectors of tests/formats/quantized: a line of JSON with the small files,
 * and the bytes of model.safetensors.
 */
#ifndef SPLIT_VECTOR_H
#define SPLIT_VECTOR_H

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const split_names[] = { "config.json",
	"quantize_config.json", "quant_model_description.json" };

#define SPLIT_NAMES	(sizeof(split_names) / sizeof(split_names[0]))

static inline int
split_put(const char *dir, const char *name, const void *data, size_t n)
{
	char path[512];
	FILE *f;
	int r;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	if ((f = fopen(path, "wb")) == NULL)
		return -1;
	r = fwrite(data, 1, n, f) == n ? 0 : -1;
	return fclose(f) == 0 ? r : -1;
}

/* The files of a vector into a directory, in the place of those of another: 0,
 * or -1 when it has no such line. */
static inline int
split_vector(const char *dir, const char *data, size_t n)
{
	const char *end = memchr(data, '\n', n);
	char path[512], *text;
	json_t *o, *v;
	size_t i;

	o = end == NULL ? NULL : json_loadb(data, (size_t)(end - data),
	    JSON_REJECT_DUPLICATES, NULL);
	for (i = 0; i < SPLIT_NAMES; i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, split_names[i]);
		unlink(path);
		if ((v = json_object_get(o, split_names[i])) == NULL)
			continue;
		text = json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT);
		split_put(dir, split_names[i], text, strlen(text));
		free(text);
	}
	json_decref(o);
	return end == NULL ? -1 : split_put(dir, "model.safetensors", end + 1,
	    n - (size_t)(end + 1 - data));
}

#endif
