/*
 * The W3C trace context of an execution. Private to master/.
 */
#ifndef MASTER_TRACE_H
#define MASTER_TRACE_H

#include <stddef.h>

#include "proto/codec.h"

/*
 * The traceparent in an execution's metadata: a text of that form under this name, in the object itself. None (NULL) if
 * there is none. metadata: valid JSON; what is returned points into it.
 */
struct pstr trace_parent(const char *metadata, size_t len);

#endif
