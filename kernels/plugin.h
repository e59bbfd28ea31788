/* Backends in shared objects; see SQ_PLUGIN_INIT in kern.h. */
#ifndef SQ_KERNELS_PLUGIN_H
#define SQ_KERNELS_PLUGIN_H

#include "kernels/kern.h"

/*
 * The table of the plug-in NAME, over the host's table `best'; the same one for
 * each call.  NULL, with the reason in err, when there is none or it has no
 * device.  A plug-in has no lower levels: a host's operation cannot step in
 * where the data are on a device.
 */
const struct sq_kern *sq_plugin_find(const char *name,
	    const struct sq_kern *best, char *err);

#endif
