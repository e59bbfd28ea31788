/* The two ends of a connection that is named unix:PATH or tcp:HOST:PORT. */
#ifndef SQ_ENGINE_CHANNEL_H
#define SQ_ENGINE_CHANNEL_H

#include "base/err.h"

/* Waits for one connection: its descriptor, or -1 with the reason.  A socket of
 * PATH is removed again. */
int	 sq_channel_listen(const char *name, char *err);

/* Connects; while nobody listens yet, tries again for some seconds. */
int	 sq_channel_connect(const char *name, char *err);

/* Whichever of the two is not NULL. */
int	 sq_channel_open(const char *connect, const char *listen, char *err);

#endif
