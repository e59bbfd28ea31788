/* KVCacheSchema and kv_quant_schema as JSON: sq-kv(5). */
#ifndef SQ_SCHEMA_KV_SCHEMA_H
#define SQ_SCHEMA_KV_SCHEMA_H

#include <jansson.h>

#include "kv/kvpolicy.h"
#include "model/config.h"

/* New references; NULL when there is no memory. */
json_t	*sq_kv_schema(const struct sq_config *, const struct sq_kv_policy *);
json_t	*sq_kv_quant_schema(const struct sq_config *,
	    const struct sq_kv_policy *);

#endif
