/*
 * main of a fuzz target that is built without libFuzzer: runs the target on every file named, and on every file of
 * every directory named; options are ignored. Without arguments: the corpus of the target in the source tree.
 */
#include "config.h"

#include <sys/stat.h>

#include <dirent.h>
#include <stdlib.h>

#include "tests/fuzz/fuzz.h"

static unsigned long runs;

/* From memory of exactly its size, so that a sanitizer sees any byte too many. */
static void
run_file(const char *path)
{
	FILE *f = fopen(path, "rb");
	struct stat st;
	uint8_t *data;

	if (f == NULL || fstat(fileno(f), &st) == -1) {
		perror(path);
		exit(1);
	}
	data = malloc(st.st_size > 0 ? (size_t)st.st_size : 1);
	if (data == NULL || fread(data, 1, (size_t)st.st_size, f) != (size_t)st.st_size) {
		fprintf(stderr, "%s: cannot be read\n", path);
		exit(1);
	}
	fclose(f);
	/* The last line before an abort names the culprit. */
	printf("%s\n", path);
	fflush(stdout);
	LLVMFuzzerTestOneInput(data, (size_t)st.st_size);
	free(data);
	runs++;
}

static void
run_path(const char *path)
{
	char inner[4096];
	struct dirent *e;
	DIR *d = opendir(path);

	if (d == NULL) {
		run_file(path);
		return;
	}
	while ((e = readdir(d)) != NULL) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(inner, sizeof(inner), "%s/%s", path, e->d_name);
		run_file(inner);
	}
	closedir(d);
}

static void
run_corpus(const char *program)
{
	const char *top = getenv("srcdir"), *target = strstr(program, "fuzz_");
	char path[4096];

	for (const char *next; target != NULL && (next = strstr(target + 5, "fuzz_")) != NULL;)
		target = next;
	if (target == NULL) {
		fprintf(stderr, "%s: not named after a target\n", program);
		exit(1);
	}
	snprintf(path, sizeof(path), "%s/tests/fuzz/corpus/%s", top != NULL ? top : ".", target + 5);
	run_path(path);
}

int
main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (argv[i][0] != '-')
			run_path(argv[i]);
	if (argc == 1)
		run_corpus(argv[0]);
	printf("%lu inputs\n", runs);
	return runs == 0;
}
