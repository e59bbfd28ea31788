/*
 * What a machine and a loaded model can do, as JSON: AcceleratorDescriptor and
 * CapabilityDescriptor, with the names of the interface they are written for.
 */
#ifndef SQ_SCHEMA_CAPABILITY_H
#define SQ_SCHEMA_CAPABILITY_H

#include <jansson.h>

#include "engine/backend.h"

/* This machine; measures bandwidth and operations a second for a second or so.
 * NULL with the reason. */
json_t	*sq_accelerator(struct sq_ctx *, char *err);

/* A loaded model; with measure, throughput and time to first token of a run of
 * its own, else 0.  instance: "prefill", "decode" or "general". */
json_t	*sq_capability(struct sq_runner *, const char *instance, int measure,
	    char *err);

#endif
