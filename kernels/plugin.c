/* Backends in shared objects; see plugin.h. */
#include <ctype.h>
#include <dlfcn.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernels/decoder.h"
#include "kernels/plugin.h"

/* A plug-in that was opened: they stay until the program ends. */
struct plugin {
	struct plugin *next;
	char name[32];
	struct sq_kern kern;
	const struct sq_decoder_ops *decoder;	/* or NULL */
};

static struct plugin *opened;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* A name that is part of a file's: letters and digits. */
static int
is_name(const char *name)
{
	size_t i;

	for (i = 0; name[i] != '\0'; i++)
		if (!isalnum((unsigned char)name[i]))
			return 0;
	return i > 0 && i < sizeof(opened->name);
}

/* Where the program lies: "" when that cannot be told. */
static void
program_dir(char *dir, size_t size)
{
	ssize_t n = readlink("/proc/self/exe", dir, size - 1);
	char *slash;

	dir[n < 0 ? 0 : n] = '\0';
	if ((slash = strrchr(dir, '/')) != NULL)
		*slash = '\0';
}

/* NULL with the reason in err; a file that is there but does not load is not
 * passed over. */
static void *
open_object(const char *name, char *err)
{
	static const char *const places[] = { "%s/libsqk_%s.so",
	    "%s/../lib/libsqk_%s.so" };
	char dir[PATH_MAX], path[PATH_MAX + 64];
	const char *why;
	void *so;
	size_t i;

	program_dir(dir, sizeof(dir));
	for (i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		snprintf(path, sizeof(path), places[i], dir, name);
		if (access(path, F_OK) == 0)
			break;
	}
	if (i == sizeof(places) / sizeof(places[0]))
		snprintf(path, sizeof(path), "libsqk_%s.so", name);
	if ((so = dlopen(path, RTLD_NOW | RTLD_LOCAL)) != NULL)
		return so;
	why = dlerror();
	if (strchr(path, '/') == NULL)
		sq_fail(err, "kernels '%s': no such level, and no plug-in %s",
		    name, path);
	else
		sq_fail(err, "kernels '%s': %s", name, why);
	return NULL;
}

static int
init(struct plugin *p, void *so, const struct sq_kern *best, char *err)
{
	sq_plugin_abi_fn *abi;
	sq_plugin_init_fn *start;
	sq_plugin_decoder_fn *decoder;
	char why[SQ_ERR];

	/* POSIX: a function's address comes as an object's */
	*(void **)&abi = dlsym(so, SQ_PLUGIN_ABI);
	*(void **)&start = dlsym(so, SQ_PLUGIN_INIT);
	*(void **)&decoder = dlsym(so, SQ_PLUGIN_DECODER);
	if (abi == NULL || start == NULL ||
	    strcmp(abi(), sq_kern_abi()) != 0)
		return sq_fail(err, "kernels '%s': the plug-in was built for "
		    "another version", p->name);
	p->kern = *best;
	p->kern.name = p->name;
	p->kern.lower = NULL;
	if (start(&p->kern, why) < 0)
		return sq_fail(err, "kernels '%s': %s", p->name, why);
	p->decoder = decoder == NULL ? NULL : decoder();
#define OP(opname, params, args, bound)					\
	if (p->kern.opname != best->opname)				\
		p->kern.from[SQ_OP_##opname] = p->name;
#include "kernels/ops.def"
#undef OP
	return 0;
}

static struct plugin *
load(const char *name, const struct sq_kern *best, char *err)
{
	struct plugin *p = calloc(1, sizeof(*p));
	void *so;

	if (p == NULL || !is_name(name)) {
		sq_fail(err, p == NULL ? "out of memory" :
		    "kernels '%s': no such level", name);
		free(p);
		return NULL;
	}
	snprintf(p->name, sizeof(p->name), "%s", name);
	if ((so = open_object(name, err)) == NULL) {
		free(p);
		return NULL;
	}
	if (init(p, so, best, err) < 0) {
		dlclose(so);
		free(p);
		return NULL;
	}
	p->next = opened;
	return opened = p;
}

static struct plugin *
find(const char *name, const struct sq_kern *best, char *err)
{
	struct plugin *p;

	pthread_mutex_lock(&lock);
	for (p = opened; p != NULL; p = p->next)
		if (strcmp(p->name, name) == 0)
			break;
	if (p == NULL)
		p = load(name, best, err);
	pthread_mutex_unlock(&lock);
	return p;
}

const struct sq_kern *
sq_plugin_find(const char *name, const struct sq_kern *best, char *err)
{
	struct plugin *p = find(name, best, err);

	return p == NULL ? NULL : &p->kern;
}

const struct sq_decoder_ops *
sq_decoder_find(const char *name, char *err)
{
	struct plugin *p = find(name, sq_kern_find("auto", err), err);

	if (p != NULL && p->decoder == NULL)
		sq_fail(err, "kernels '%s': no decoder", name);
	return p == NULL ? NULL : p->decoder;
}
