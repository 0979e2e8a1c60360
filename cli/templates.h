/*
 * What `pgconductor new` writes: the files of cli/templates, embedded by cli/embed.sh. Private to cli/.
 */
#ifndef CLI_TEMPLATES_H
#define CLI_TEMPLATES_H

#include <stddef.h>

struct template {
	const char *name;	/* of its file */
	const char *text;
};

extern const struct template templates[];
extern const size_t templates_n;

#endif
