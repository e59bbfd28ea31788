/* Files that are compiled in: the Makefile makes presets.c of pipelines/. */
#ifndef SQ_SCHEMA_PRESETS_H
#define SQ_SCHEMA_PRESETS_H

struct sq_preset {
	const char *name, *text;
};

/* pipelines/profiles/NAME.yaml by name; ends with a name that is NULL. */
extern const struct sq_preset sq_presets[];

/* pipelines/engines/NAME.yaml. */
extern const struct sq_preset sq_engines[];

#endif
