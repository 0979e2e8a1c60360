/*
 * pgconductor completion: scripts for shells, made from the tables of commands and options. The cli process only.
 *
 * What may stand where is known by what --help calls it: FILE, TASK, Q, STATE, or words to choose from. Names of tasks
 * and queues are asked of the database by this command too, which then says nothing of what goes wrong.
 */
#include "config.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "common/buf.h"

/* Somebody waits for the key to do something. */
#define PATIENCE_S	"2"

static const char bash_head[] =
    "# Completion of pgconductor for bash; made by `pgconductor completion bash`.\n"
    "\n"
    "# Names that the database knows; nothing if it does not answer.\n"
    "_pgconductor_names()\n"
    "{\n"
    "\tlocal program=${words[0]/#\\~/$HOME} db=() i\n"
    "\n"
    "\tfor ((i = 2; i < ${#words[@]}; i++)); do\n"
    "\t\tcase ${words[i - 1]} in\n"
    "\t\t--db|--db-url) db=(--db \"${words[i]}\") ;;\n"
    "\t\tesac\n"
    "\tdone\n"
    "\t\"$program\" completion \"$1\" \"${db[@]}\" 2>/dev/null </dev/null\n"
    "}\n"
    "\n";

/* The kind of what stands behind an option, or of an operand: the cases are made from the tables. */
static const char bash_tail[] =
    "# Sets COMPREPLY to what of a kind begins with a word.\n"
    "_pgconductor_words()\n"
    "{\n"
    "\tlocal list=${1##*,}\n"
    "\n"
    "\tcase $1 in\n"
    "\tFILE) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -f -- \"$2\"); return ;;\n"
    "\tTASK) list=$(_pgconductor_names tasks) ;;\n"
    "\tQ) list=$(_pgconductor_names queues) ;;\n"
    "\tWORDS,*) ;;\n"
    "\t*) return ;;\n"
    "\tesac\n"
    "\tmapfile -t COMPREPLY < <(compgen -W \"$list\" -- \"$2\")\n"
    "}\n"
    "\n"
    "_pgconductor()\n"
    "{\n"
    "\tlocal line=${COMP_LINE:0:COMP_POINT} words n word before command calls i operands=0 kind= skip= cut= state= from=2\n"
    "\n"
    "\tCOMPREPLY=()\n"
    "\tread -ra words <<< \"$line\"\n"
    "\t[[ $line == *[[:space:]] ]] && words+=(\"\")\n"
    "\tn=$((${#words[@]} - 1)) word=${words[n]} before=${words[n - 1]} command=${words[1]}\n"
    "\tif ((n == 1)); then\n"
    "\t\tmapfile -t COMPREPLY < <(compgen -W \"$(_pgconductor_commands) help --help --version\" -- \"$word\")\n"
    "\t\treturn\n"
    "\tfi\n"
    "\tcalls=$(_pgconductor_calls \"$command\")\n"
    "\tif [[ $calls ]] && ((n == 2)) && [[ $word != -* ]]; then\n"
    "\t\tmapfile -t COMPREPLY < <(compgen -W \"$calls\" -- \"$word\")\n"
    "\t\treturn\n"
    "\telif [[ $calls ]] && ((n > 2)); then command=\"$command ${words[2]}\" from=3; fi\n"
    "\t# What was typed before: a command of somebody else's begins behind --.\n"
    "\tfor ((i = from; i < n; i++)); do\n"
    "\t\tif [[ ${words[i]} == -- ]]; then\n"
    "\t\t\tcompopt -o filenames 2>/dev/null\n"
    "\t\t\tif ((i == n - 1)); then mapfile -t COMPREPLY < <(compgen -c -- \"$word\")\n"
    "\t\t\telse mapfile -t COMPREPLY < <(compgen -f -- \"$word\"); fi\n"
    "\t\t\treturn\n"
    "\t\telif [[ $skip ]]; then skip=\n"
    "\t\telif [[ ${words[i]} == -* ]]; then [[ $(_pgconductor_kind \"$command\" \"${words[i]}\") ]] && skip=yes\n"
    "\t\telse ((operands++)); fi\n"
    "\tdone\n"
    "\tif [[ $word == --*=* ]]; then\n"
    "\t\tkind=$(_pgconductor_kind \"$command\" \"${word%%=*}\") cut=${word%%=*}= word=${word#*=}\n"
    "\telif [[ $skip ]]; then\n"
    "\t\tkind=$(_pgconductor_kind \"$command\" \"$before\")\n"
    "\telif [[ $word == -* ]]; then\n"
    "\t\tkind=WORDS,$(_pgconductor_options \"$command\")\n"
    "\telif [[ $word == @* ]]; then\n"
    "\t\tkind=FILE cut=@ word=${word#@}\n"
    "\telse\n"
    "\t\tkind=$(_pgconductor_operand \"$command\" $operands)\n"
    "\tfi\n"
    "\t# Several words: a,b\n"
    "\tif [[ $kind == WORDS,* && $word == *,* ]]; then cut=$cut${word%,*}, word=${word##*,}; fi\n"
    "\t_pgconductor_words \"$kind\" \"$word\"\n"
    "\t# Readline replaces what stands behind the last character that breaks words.\n"
    "\tCOMPREPLY=(\"${COMPREPLY[@]/#/$cut}\")\n"
    "\tword=${words[n]} state=${word%\"${word##*[=:]}\"}\n"
    "\tCOMPREPLY=(\"${COMPREPLY[@]#\"$state\"}\")\n"
    "\tif [[ ${COMPREPLY[*]} == *= ]]; then compopt -o nospace 2>/dev/null; fi\n"
    "}\n"
    "\n"
    "complete -F _pgconductor pgconductor\n";

static const char zsh_head[] =
    "#compdef pgconductor\n"
    "# Completion of pgconductor for zsh; made by `pgconductor completion zsh`.\n"
    "\n"
    "# Names that the database knows; nothing if it does not answer.\n"
    "_pgconductor_names()\n"
    "{\n"
    "\tlocal -a names db\n"
    "\tlocal i=${words[(I)--db|--db-url]}\n"
    "\n"
    "\t((i > 0)) && db=(--db ${(Q)words[i + 1]})\n"
    "\tnames=(${(f)\"$(${(Q)~program} completion $1 $db 2>/dev/null </dev/null)\"})\n"
    "\tcompadd -a names\n"
    "}\n"
    "\n"
    "# What stands behind -- is a command of somebody else's.\n"
    "_pgconductor_command()\n"
    "{\n"
    "\tlocal i=${words[(i)--]}\n"
    "\n"
    "\t((i < CURRENT)) || return 1\n"
    "\tshift $i words\n"
    "\t((CURRENT -= i))\n"
    "\t_normal\n"
    "\treturn 0\n"
    "}\n"
    "\n"
    "_pgconductor()\n"
    "{\n"
    "\tlocal program=$words[1] curcontext=$curcontext\n"
    "\tlocal -a commands\n"
    "\n"
    "\tcommands=(\n";

static const char zsh_middle[] =
    "\t)\n"
    "\tif ((CURRENT == 2)); then\n"
    "\t\t_describe command commands\n"
    "\t\treturn\n"
    "\tfi\n"
    "\tshift words\n"
    "\t((CURRENT--))\n"
    "\tcase $words[1] in\n";

/* ---- for both ---- */

/* Text in single quotes. */
static void
put_quoted(const char *s, const char *special)
{
	for (; *s != '\0'; s++) {
		if (*s == '\'')
			fputs("'\\''", stdout);
		else if (strchr(special, *s) != NULL)
			printf("\\%c", *s);
		else
			putchar(*s);
	}
}

static bool
is_choice(const char *kind)
{
	return strchr(kind, '|') != NULL;
}

/* "TASK…": the arguments are all of one kind. Else only the first one is known. */
static bool
all_alike(const struct cli_command *c)
{
	const char *s = c->arguments + (c->arguments[0] == '[');
	size_t len = strlen(c->operand);

	return strncmp(s, c->operand, len) == 0 && strncmp(s + len, "…", strlen("…")) == 0;
}

/* What stands behind the command's own name. */
static const char *
call_name(const struct cli_command *c, size_t i)
{
	return c->calls[i]->name + strlen(c->name) + 1;
}

/* ---- bash ---- */

/* What the functions call it: FILE, TASK, Q, WORDS,a b c; or any other name, of which nothing is known. */
static void
put_kind(const struct cli_command *c, const char *kind)
{
	if (strcmp(kind, "STATE") == 0) {
		printf("'WORDS,%s'", c->states != NULL ? c->states : "");
	} else if (is_choice(kind)) {
		fputs("'WORDS,", stdout);
		for (; *kind != '\0'; kind++)
			putchar(*kind == '|' ? ' ' : *kind);
		putchar('\'');
	} else {
		printf("%s", kind);
	}
}

static void
bash_options(const struct cli_command *c)
{
	const struct cli_option *o;

	printf("\t\"%s\") echo '", c->name);
	for (size_t i = 0; (o = cli_option_at(c, i)) != NULL; i++)
		printf("%s--%s", i > 0 ? " " : "", o->name);
	puts("' ;;");
}

static void
bash_kinds(const struct cli_command *c)
{
	const struct cli_option *o;

	for (size_t i = 0; (o = cli_option_at(c, i)) != NULL; i++) {
		if (o->kind == CLI_FLAG)
			continue;
		printf("\t\"%s\",--%s", c->name, o->name);
		if (o->letter != 0)
			printf("|\"%s\",-%c", c->name, o->letter);
		fputs(") echo ", stdout);
		put_kind(c, o->argument);
		puts(" ;;");
	}
}

static void
bash_operand(const struct cli_command *c)
{
	if (c->operand == NULL)
		return;
	printf("\t\"%s\",%s) echo ", c->name, all_alike(c) ? "*" : "0");
	put_kind(c, c->operand);
	puts(" ;;");
}

static void
bash_calls(const struct cli_command *c)
{
	if (c->calls_n == 0)
		return;
	printf("\t\"%s\") echo '", c->name);
	for (size_t i = 0; i < c->calls_n; i++)
		printf("%s%s", i > 0 ? " " : "", call_name(c, i));
	puts("' ;;");
}

/* With those of its own. */
static void
for_each(void (*each)(const struct cli_command *))
{
	for (size_t i = 0; i < cli_commands_n; i++) {
		each(cli_commands[i]);
		for (size_t j = 0; j < cli_commands[i]->calls_n; j++)
			each(cli_commands[i]->calls[j]);
	}
}

static void
bash_function(const char *name, const char *word, void (*each)(const struct cli_command *))
{
	printf("%s()\n{\n\tcase %s in\n", name, word);
	for_each(each);
	fputs("\tesac\n}\n\n", stdout);
}

static void
print_bash(void)
{
	fputs(bash_head, stdout);
	fputs("_pgconductor_commands()\n{\n\techo '", stdout);
	for (size_t i = 0; i < cli_commands_n; i++)
		printf("%s%s", i > 0 ? " " : "", cli_commands[i]->name);
	fputs("'\n}\n\n", stdout);
	bash_function("_pgconductor_calls", "$1", bash_calls);
	bash_function("_pgconductor_options", "$1", bash_options);
	fputs("# What stands behind an option, as --help calls it.\n", stdout);
	bash_function("_pgconductor_kind", "$1,$2", bash_kinds);
	fputs("# What an argument is, counted from 0.\n", stdout);
	printf("_pgconductor_operand()\n{\n\tcase $1,$2 in\n\thelp,0) echo \"WORDS,$(_pgconductor_commands)\" ;;\n");
	for_each(bash_operand);
	fputs("\tesac\n}\n\n", stdout);
	fputs(bash_tail, stdout);
}

/* ---- zsh ---- */

/* How _arguments finds what stands there. */
static void
put_action(const struct cli_command *c, const char *kind)
{
	if (strcmp(kind, "FILE") == 0) {
		fputs("_files", stdout);
	} else if (strcmp(kind, "TASK") == 0 || strcmp(kind, "Q") == 0) {
		printf("{_pgconductor_names %s}", *kind == 'T' ? "tasks" : "queues");
	} else if (strcmp(kind, "STATE") == 0) {
		printf("_sequence compadd - %s", c->states != NULL ? c->states : "");
	} else if (is_choice(kind)) {
		putchar('(');
		for (; *kind != '\0'; kind++)
			putchar(*kind == '|' ? ' ' : *kind);
		putchar(')');
	} else {
		putchar(' ');
	}
}

static void
zsh_option(const struct cli_command *c, const struct cli_option *o)
{
	const char *mark = o->kind == CLI_FLAG ? "" : "=";

	fputs(" \\\n\t\t\t", stdout);
	if (o->letter != 0)
		printf("'(-%c --%s)'{-%c%s,--%s%s}'[", o->letter, o->name, o->letter, *mark != '\0' ? "+" : "", o->name, mark);
	else
		printf("'%s--%s%s[", o->kind == CLI_LIST || o->kind == CLI_EACH ? "*" : "", o->name, mark);
	put_quoted(o->help, "[]\\");
	putchar(']');
	if (o->kind != CLI_FLAG) {
		printf(":%s:", o->argument);
		put_action(c, o->argument);
	}
	putchar('\'');
}

static void
zsh_command(const struct cli_command *c, const char *name)
{
	const struct cli_option *o;

	printf("\t%s)\n%s\t\t_arguments", name, c->takes_command ? "\t\t_pgconductor_command && return\n" : "");
	for (size_t i = 0; (o = cli_option_at(c, i)) != NULL; i++)
		zsh_option(c, o);
	if (c->operand != NULL) {
		printf(" \\\n\t\t\t'%s:%s:", all_alike(c) ? "*" : "1", is_choice(c->operand) ? "which" : c->operand);
		put_action(c, c->operand);
		putchar('\'');
	}
	fputs("\n\t\t;;\n", stdout);
}

static void
zsh_described(const struct cli_command *c, const char *name)
{
	printf("\t\t'%s:", name);
	put_quoted(c->summary, ":\\");
	puts("'");
}

/* One that has commands of its own: those first, then as with the command itself. */
static void
zsh_calls(const struct cli_command *c)
{
	printf("\t%s)\n\t\tcommands=(\n", c->name);
	for (size_t i = 0; i < c->calls_n; i++)
		zsh_described(c->calls[i], call_name(c, i));
	fputs("\t\t)\n\t\tif ((CURRENT == 2)) && [[ $words[2] != -* ]]; then\n\t\t\t_describe call commands\n\t\t\treturn\n\t\tfi\n"
	    "\t\tshift words\n\t\t((CURRENT--))\n\t\tcase $words[1] in\n", stdout);
	for (size_t i = 0; i < c->calls_n; i++)
		zsh_command(c->calls[i], call_name(c, i));
	fputs("\t\tesac\n\t\t;;\n", stdout);
}

static void
print_zsh(void)
{
	fputs(zsh_head, stdout);
	for (size_t i = 0; i < cli_commands_n; i++)
		zsh_described(cli_commands[i], cli_commands[i]->name);
	fputs(zsh_middle, stdout);
	for (size_t i = 0; i < cli_commands_n; i++) {
		if (cli_commands[i]->calls_n > 0)
			zsh_calls(cli_commands[i]);
		else
			zsh_command(cli_commands[i], cli_commands[i]->name);
	}
	fputs("\thelp)\n\t\t_describe command commands\n\t\t;;\n\tesac\n}\n\n_pgconductor \"$@\"\n", stdout);
}

/* ---- names ---- */

static void
on_alarm(int sig)
{
	(void)sig;
	_exit(EX_UNAVAILABLE);
}

static void
print_names(const char *table)
{
	const char *conninfo, *why;
	char *reason;
	PGresult *res;
	PGconn *conn;

	/* A starting dev server is waited for elsewhere; here, not for long. */
	signal(SIGALRM, on_alarm);
	alarm(3);
	setenv("PGCONNECT_TIMEOUT", PATIENCE_S, 1);
	if ((conninfo = cli_find_conninfo(NULL, &why)) == NULL || (conn = cli_try_connect(conninfo, &reason)) == NULL)
		exit(EX_UNAVAILABLE);
	PQclear(PQexec(conn, "set statement_timeout = '" PATIENCE_S "s'"));
	res = PQexec(conn, strcmp(table, "tasks") == 0 ? "select name from pgconductor.tasks order by name" :
	    "select name from pgconductor.queues order by name");
	for (int i = 0; PQresultStatus(res) == PGRES_TUPLES_OK && i < PQntuples(res); i++)
		puts(PQgetvalue(res, i, 0));
	PQclear(res);
	PQfinish(conn);
}

static int
run(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : NULL;

	if (what == NULL)
		cli_usage("the shell is missing: bash or zsh");
	if (argc > 2)
		cli_usage("%s: unexpected argument", argv[2]);
	if (strcmp(what, "bash") == 0)
		print_bash();
	else if (strcmp(what, "zsh") == 0)
		print_zsh();
	else if (strcmp(what, "tasks") == 0 || strcmp(what, "queues") == 0)
		print_names(what);
	else
		cli_usage("%s: neither bash nor zsh", what);
	return cli_done(EX_OK);
}

const struct cli_command cmd_completion = {
	.name = "completion",
	.arguments = "bash | zsh | tasks | queues",
	.operand = "bash|zsh",
	.summary = "print the script that completes commands in a shell",
	.details = "For bash: source <(pgconductor completion bash), in ~/.bashrc; for zsh: put it into a directory of $fpath, as\n"
	    "_pgconductor. tasks and queues print their names, for these scripts, and nothing if the database does not\n"
	    "answer at once.\n",
	.run = run,
};
