/*
 * pgconductor new: a task to begin with, and its test. The cli process only.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/templates.h"
#include "common/buf.h"
#include "common/xmalloc.h"

#define LANGUAGES	"typescript|python|c|shell"
#define NAME_MAX_LEN	128

struct language {
	const char	*name;
	const char	*template, *ending;
	const char	*build, *serve;		/* in its test: before it is served, and how */
	const char	*next;			/* what to do, for people */
	bool		 is_executable, has_conf;
};

static const struct language languages[] = {
	{ "typescript", "task.mts", ".mts", "# From 6 on it wants to be told that a tsconfig.json is not for this.\n"
	    "case $(npx --no-install tsc --version) in *' '[45].*) alone= ;; *) alone=--ignoreConfig ;; esac\n"
	    "npx --no-install tsc ${alone:+$alone} --target es2022 --module nodenext --types node --strict --skipLibCheck '@FILE@'",
	    "-- node \"$here/@BASE@.mjs\"", "in a project with the packages pgconductor, typescript and @types/node", false, false },
	{ "python", "task.py", ".py", ":", "-- python3 \"$here/@FILE@\"", "with the package pgconductor for Python", false, false },
	{ "c", "task.c", ".c", "# shellcheck disable=SC2046\n${CC:-cc} -o \"$dir/@BASE@\" '@FILE@' $(pkg-config --cflags --libs pgconductor jansson)",
	    "-- \"$dir/@BASE@\"", "with libpgconductor and jansson", false, false },
	{ "shell", "task.sh", ".sh", "cp '@FILE@' '@BASE@.conf' \"$dir\"", "-c '@BASE@.conf'", "with jq", true, true },
};

static const char *lang;

static const struct cli_option options[] = {
	{ "lang", 'l', CLI_TEXT, &lang, LANGUAGES, "the language" },
	{ .name = NULL }
};

static const struct language *
find_language(void)
{
	if (lang == NULL)
		cli_usage("--lang is missing: typescript, python, c or shell");
	for (size_t i = 0; i < sizeof(languages) / sizeof(languages[0]); i++)
		if (strcmp(languages[i].name, lang) == 0)
			return &languages[i];
	cli_usage("--lang: %s: not typescript, python, c or shell", lang);
}

/* As the database has it. */
static bool
is_task_name(const char *s)
{
	static const char first[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_";

	return *s != '\0' && strchr(first, *s) != NULL && strlen(s) <= NAME_MAX_LEN &&
	    s[strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.:-")] == '\0';
}

static const char *
find_template(const char *name)
{
	for (size_t i = 0; i < templates_n; i++)
		if (strcmp(templates[i].name, name) == 0)
			return templates[i].text;
	abort();
}

/* The text with @TASK@ and the like replaced, and what these stand for likewise. */
static void
fill(struct buf *out, const char *text, const struct language *l, const char *task)
{
	const struct {
		const char *mark, *text, *more;
	} marks[] = {
		{ "@TASK@", task, "" }, { "@BASE@", task, "" }, { "@FILE@", task, l->ending }, { "@BUILD@", l->build, "" }, { "@SERVE@", l->serve, "" },
	};
	size_t i, len;

	while (*text != '\0') {
		len = strcspn(text, "@");
		buf_add(out, text, len);
		text += len;
		for (i = 0; *text != '\0' && i < sizeof(marks) / sizeof(marks[0]); i++)
			if (strncmp(text, marks[i].mark, strlen(marks[i].mark)) == 0)
				break;
		if (*text == '\0')
			break;
		if (i == sizeof(marks) / sizeof(marks[0])) {
			buf_add(out, text++, 1);
			continue;
		}
		text += strlen(marks[i].mark);
		if (i < 3)
			buf_add(out, marks[i].text, strlen(marks[i].text));
		else
			fill(out, marks[i].text, l, task);
		buf_add(out, marks[i].more, strlen(marks[i].more));
	}
}

/* Nothing that is there is written over. */
static void
write_file(const char *path, const char *template, const struct language *l, const char *task, bool is_executable)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, is_executable ? 0777 : 0666);
	FILE *f = fd != -1 ? fdopen(fd, "w") : NULL;
	struct buf text = { 0 };

	if (f == NULL)
		cli_fail(EX_CANTCREAT, "%s: %s", path, strerror(errno));
	fill(&text, find_template(template), l, task);
	cli_put_buf(f, &text);
	if (fclose(f) != 0)
		cli_fail(EX_IOERR, "%s: %s", path, strerror(errno));
	puts(path);
}

static int
run_task(int argc, char **argv)
{
	const struct language *l = find_language();
	char *names[3];
	const char *task;

	if (argc != 2)
		cli_usage(argc < 2 ? "the name of the task is missing" : "%s: unexpected argument", argv[argc - 1]);
	task = argv[1];
	if (!is_task_name(task))
		cli_fail(EX_DATAERR, "%s: not a task's name (letters, digits and _ . : - , 128 at most)", task);
	names[0] = xasprintf("%s%s", task, l->ending);
	names[1] = xasprintf("test-%s.sh", task);
	names[2] = xasprintf("%s.conf", task);
	for (size_t i = 0; i < (l->has_conf ? 3 : 2); i++)
		if (access(names[i], F_OK) == 0)
			cli_fail(EX_CANTCREAT, "%s is there already", names[i]);
	write_file(names[0], l->template, l, task, l->is_executable);
	if (l->has_conf)
		write_file(names[2], "task.conf", l, task, false);
	write_file(names[1], "test.sh", l, task, true);
	fprintf(stderr, "pgconductor: ./%s runs it once, %s\n", names[1], l->next);
	for (size_t i = 0; i < 3; i++)
		free(names[i]);
	return cli_done(EX_OK);
}

static const struct cli_command new_task = {
	.name = "new task",
	.arguments = "NAME --lang " "typescript | python | c | shell",
	.summary = "write a task that runs, and its test",
	.details = "Into this directory: NAME with the ending of its language, test-NAME.sh, and for a shell script NAME.conf. The test\n"
	    "runs the task on a PostgreSQL of its own (pgconductor dev). Prints what was written; nothing is written over.\n",
	.options = options,
	.no_database = true,
	.run = run_task,
};

static int
run(int argc, char **argv)
{
	if (argc < 2)
		cli_usage("what is missing: task");
	cli_fail(EX_USAGE, "%s: not task", argv[1]);
}

static const struct cli_command *const calls[] = { &new_task };

const struct cli_command cmd_new = {
	.name = "new",
	.arguments = "task NAME --lang L",
	.summary = "write a task to begin with, and its test",
	.calls = calls,
	.calls_n = sizeof(calls) / sizeof(calls[0]),
	.no_database = true,
	.run = run,
};
