/*
 * Commands in the configuration: a list is an argv as it stands; a string without shell metacharacters is split on
 * blanks; any other string goes to /bin/sh -c. Any process; no state.
 */
#include "config.h"

#include <string.h>

#include "common/conf_table.h"
#include "common/xmalloc.h"

#define BLANKS " \t"

/* Words that only a shell can run. */
static const char *const shell_words[] = {
	"!", ".", ":", "alias", "break", "case", "cd", "continue", "eval", "exec", "exit", "export", "for", "if",
	"read", "readonly", "return", "set", "shift", "times", "trap", "type", "ulimit", "umask", "unset", "until", "wait",
	"while",
};

static bool
needs_shell(const char *s)
{
	size_t word, i;

	if (strpbrk(s, "|&;<>()$`\\\"'*?[]#~!{}\n\r") != NULL)
		return true;
	s += strspn(s, BLANKS);
	word = strcspn(s, BLANKS);
	/* NAME=value before a command. */
	if (memchr(s, '=', word) != NULL)
		return true;
	for (i = 0; i < sizeof(shell_words) / sizeof(shell_words[0]); i++)
		if (strlen(shell_words[i]) == word && strncmp(s, shell_words[i], word) == 0)
			return true;
	return false;
}

static void
add(struct conf_strs *argv, const char *s, size_t len)
{
	argv->v = xreallocarray(argv->v, argv->n + 2, sizeof(char *));
	argv->v[argv->n++] = xstrndup(s, len);
	argv->v[argv->n] = NULL;
}

static void
add_words(struct conf_strs *argv, const char *s)
{
	size_t len;

	for (s += strspn(s, BLANKS); *s != '\0'; s += strspn(s, BLANKS)) {
		len = strcspn(s, BLANKS);
		add(argv, s, len);
		s += len;
	}
}

/* NULL, or what is wrong, which the caller frees. */
char *
conf_command_argv(const struct conf_value *value, struct conf_strs *argv)
{
	const char *s = value->v[0];
	size_t i;

	if (s[0] == '\0' || (!value->list && s[strspn(s, BLANKS "\n\r")] == '\0'))
		return xstrdup("is empty");
	if (value->list) {
		for (i = 0; i < value->n; i++)
			add(argv, value->v[i], strlen(value->v[i]));
	} else if (needs_shell(s)) {
		add(argv, "/bin/sh", 7);
		add(argv, "-c", 2);
		add(argv, s, strlen(s));
	} else {
		add_words(argv, s);
	}
	return NULL;
}
