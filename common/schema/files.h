/*
 * Schemas in files that refer to each other. Master and command line.
 */
#ifndef COMMON_SCHEMA_FILES_H
#define COMMON_SCHEMA_FILES_H

#include "common/schema/schema.h"

/*
 * One schema of a file and of those it refers to, by relative paths, that can be used; the caller frees it. tree: the directory
 * that they are in; path: below it, or absolute. NULL with the reason.
 */
char	*schema_read_files(const char *tree, const char *path, char why[SCHEMA_WHY]);

#endif
