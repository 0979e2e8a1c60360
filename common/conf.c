/*
 * The configuration: reading files through libconfuse. Any process, but only at start and on reload.
 *
 * libconfuse is given every option as text and calls back for each value as it meets it; values are gathered here
 * with their line and go through the table (conf_table.c) when their section ends. So one pass reports every bad
 * value, duplicates are seen, and nothing depends on what libconfuse stores. Each included file is parsed by itself:
 * libconfuse's own include stack is not cleaned up after an error, which a reload would stumble over.
 */
#include "config.h"

#include <confuse.h>
#include <errno.h>
#include <glob.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/conf_table.h"
#include "common/xmalloc.h"

#define FILE_MAX_BYTES	(1 << 20)
#define DEPTH_MAX	10
#define FILES_MAX	1000

/* An assignment met in the section that is being read. */
struct seen {
	const struct conf_option	*option;
	struct conf_value		 value;
	size_t				 checks;	/* calls of on_checked */
	int				 line;
	bool				 twice;
};

struct gathered {
	struct seen	*v;
	size_t		 n;
	int		 line;		/* where its section begins */
};

struct include {
	char	*pattern;
	int	 line;
};

#define TOPS_MAX	32

/* What is shared by the files that are read together. */
struct load {
	struct conf		*conf;
	struct conf_errors	*errors;
	struct conf_place	 tops[TOPS_MAX];	/* where each of the top's options was set */
};

struct parse {
	struct load		*load;
	struct conf		*conf;
	struct conf_errors	*errors;
	const char		*file;		/* owned by conf->files */
	unsigned		 depth;
	cfg_t			*root;
	struct gathered		 top;
	struct gathered		 section;
	struct gathered		 inner;		/* a section within it */
	struct conf_trigger	**triggers;	/* of the task that is being read */
	size_t			 triggers_n;
	struct include		*includes;
	size_t			 includes_n;
};

/* libconfuse's callbacks carry no argument of ours. */
static struct parse *current;

static void	parse_file(struct load *, const char *path, const char *from, int line, unsigned depth);

static const struct conf_section *
section_find(const char *name)
{
	const struct conf_section *s = conf_sections;

	while (strcmp(s->name, name) != 0)
		s++;
	return s;
}

static const struct conf_option *
option_find(const struct conf_section *section, const char *name)
{
	const struct conf_option *o = section->options;

	while (o->name != NULL && strcmp(o->name, name) != 0)
		o++;
	return o->name != NULL ? o : NULL;
}

static void
gathered_clear(struct gathered *g)
{
	for (size_t i = 0; i < g->n; i++) {
		for (size_t j = 0; j < g->v[i].value.n; j++)
			free(g->v[i].value.v[j]);
		free(g->v[i].value.v);
	}
	free(g->v);
	memset(g, 0, sizeof(*g));
}

/* An option of the top can also be set in two files. */
static bool
is_first(const struct seen *s)
{
	struct conf_place *place = &current->load->tops[s->option - conf_sections[CONF_SECTION_TOP].options];

	if (place->file != NULL) {
		conf_error(current->errors, current->file, s->line, "%s is set twice, first at %s:%d", s->option->name, place->file,
		    place->line);
		return false;
	}
	place->file = current->file;
	place->line = s->line;
	return true;
}

/* Puts what was gathered into target. */
static void
gathered_apply(struct gathered *g, const struct conf_section *section, void *target)
{
	struct seen *s;
	char *why;

	for (size_t i = 0; i < g->n; i++) {
		s = &g->v[i];
		s->value.list = s->checks > s->value.n;
		if (s->twice || (target == current->conf && !is_first(s)))
			continue;
		why = conf_option_set(s->option, target, &s->value);
		if (why != NULL)
			conf_error(current->errors, current->file, s->line, "%s%s%s: %s", section->name,
			    *section->name != '\0' ? "." : "", s->option->name, why);
		free(why);
	}
	gathered_clear(g);
}

static struct seen *
gathered_find(struct gathered *g, const char *name)
{
	for (size_t i = 0; i < g->n; i++)
		if (strcmp(g->v[i].option->name, name) == 0)
			return &g->v[i];
	return NULL;
}

static struct seen *
gathered_add(struct gathered *g, const struct conf_option *option, int line)
{
	struct seen *s;

	g->v = xreallocarray(g->v, g->n + 1, sizeof(*g->v));
	s = &g->v[g->n++];
	memset(s, 0, sizeof(*s));
	s->option = option;
	s->line = line;
	return s;
}

/* Where what is assigned in this section is gathered. */
static struct gathered *
gathered_of(cfg_t *cfg)
{
	if (cfg == current->root)
		return &current->top;
	return section_find(cfg_name(cfg))->within != NULL ? &current->inner : &current->section;
}

/* A value was read. libconfuse has counted it already, from 1 again if it was assigned anew. */
static int
on_value(cfg_t *cfg, cfg_opt_t *opt, const char *value, void *result)
{
	struct gathered *g = gathered_of(cfg);
	const struct conf_section *section = section_find(cfg == current->root ? "" : cfg_name(cfg));
	struct seen *s = gathered_find(g, cfg_opt_name(opt));

	if (g->line == 0)
		g->line = g == &current->inner ? cfg->line : current->root->line;
	if (s == NULL) {
		s = gathered_add(g, option_find(section, cfg_opt_name(opt)), cfg->line);
	} else if (cfg_opt_size(opt) == 1 && !s->twice) {
		conf_error(current->errors, current->file, cfg->line, "%s is set twice, first in line %d", cfg_opt_name(opt),
		    s->line);
		s->twice = true;
	}
	s->value.v = xreallocarray(s->value.v, s->value.n + 1, sizeof(char *));
	s->value.v[s->value.n++] = xstrdup(value);
	*(const char **)result = value;
	return 0;
}

/* Called after every value, and for a list in braces once more at its end: that tells {"a b"} from "a b". */
static int
on_checked(cfg_t *cfg, cfg_opt_t *opt)
{
	struct seen *s = gathered_find(gathered_of(cfg), cfg_opt_name(opt));

	if (s != NULL)
		s->checks++;
	return 0;
}

static void
twice(const char *what, const char *title, const struct conf_place *first, int line)
{
	conf_error(current->errors, current->file, line, "%s \"%s\" is there twice, first at %s:%d", what, title, first->file,
	    first->line);
}

static void *
add_queue(const char *title, const struct conf_place *place)
{
	struct conf_queue *q;

	if (!conf_queue_name_valid(title)) {
		conf_error(current->errors, place->file, place->line, "\"%s\" is not a queue's name (a to z, 0 to 9, _ . -, at most 63,"
		    " the first no . or -)", title);
		return NULL;
	}
	if ((q = conf_queue_find(current->conf, title)) != NULL) {
		twice("queue", title, &q->place, place->line);
		return NULL;
	}
	q = conf_queue_get(current->conf, title);
	q->place = *place;
	return q;
}

static void *
add_handler(const char *title, const struct conf_place *place)
{
	struct conf *conf = current->conf;
	struct conf_handler *h;

	if (!conf_task_name_valid(title)) {
		conf_error(current->errors, place->file, place->line, "\"%s\" is not a handler's name (letters, digits, _ . : -,"
		    " at most 128)", title);
		return NULL;
	}
	if ((h = conf_handler_find(conf, title)) != NULL) {
		twice("handler", title, &h->place, place->line);
		return NULL;
	}
	h = xcalloc(1, sizeof(*h));
	h->name = xstrdup(title);
	h->place = *place;
	conf->handlers = xreallocarray(conf->handlers, conf->handlers_n + 1, sizeof(*conf->handlers));
	conf->handlers[conf->handlers_n++] = h;
	return h;
}

static void *
add_task(const char *title, const struct conf_place *place)
{
	struct conf *conf = current->conf;
	struct conf_task *t;

	if (!conf_task_name_valid(title)) {
		conf_error(current->errors, place->file, place->line, "\"%s\" is not a task's name (letters, digits, _ . : -, at most"
		    " 128)", title);
		return NULL;
	}
	if ((t = conf_task_find(conf, title)) != NULL) {
		twice("task", title, &t->place, place->line);
		return NULL;
	}
	t = xcalloc(1, sizeof(*t));
	t->name = xstrdup(title);
	t->place = *place;
	t->max_attempts = -1;
	t->timeout = -1;
	t->total_timeout = -1;
	t->priority = CONF_NO_PRIORITY;
	t->batch_size = t->batch_timeout = -1;
	t->concurrency = t->rate_limit = t->rate_period = t->rate_burst = -1;
	t->concurrency_per_key = t->key_rate_limit = t->key_rate_period = t->key_rate_burst = -1;
	conf->tasks = xreallocarray(conf->tasks, conf->tasks_n + 1, sizeof(*conf->tasks));
	conf->tasks[conf->tasks_n++] = t;
	return t;
}

static void
drop_triggers(void)
{
	for (size_t i = 0; i < current->triggers_n; i++)
		conf_trigger_free(current->triggers[i]);
	free(current->triggers);
	current->triggers = NULL;
	current->triggers_n = 0;
}

/* A trigger was read to its end; its task is not known before that ends too. */
static int
on_trigger(cfg_t *cfg, cfg_opt_t *opt)
{
	struct conf_place place = { current->file, current->inner.line != 0 ? current->inner.line : cfg->line };
	struct conf_trigger *t = conf_trigger_new(&place);

	gathered_apply(&current->inner, &conf_sections[CONF_SECTION_TRIGGER], t);
	current->triggers = xreallocarray(current->triggers, current->triggers_n + 1, sizeof(*current->triggers));
	current->triggers[current->triggers_n++] = t;
	cfg_opt_rmnsec(opt, 0);
	return 0;
}

static void
keep_triggers(struct conf_task *t)
{
	t->triggers = current->triggers;
	t->triggers_n = current->triggers_n;
	current->triggers = NULL;
	current->triggers_n = 0;
}

/* A section was read to its end. It is removed, so that the next one, whatever its title, is again the only one. */
static int
on_section(cfg_t *cfg, cfg_opt_t *opt)
{
	const char *title = cfg_title(cfg_opt_getnsec(opt, 0));
	struct conf_place place = { current->file, current->section.line };
	void *target;

	if (place.line == 0)
		place.line = cfg->line;
	if (strcmp(cfg_opt_name(opt), "queue") == 0)
		target = add_queue(title, &place);
	else if (strcmp(cfg_opt_name(opt), "handler") == 0)
		target = add_handler(title, &place);
	else
		target = add_task(title, &place);
	if (target != NULL && strcmp(cfg_opt_name(opt), "task") == 0)
		keep_triggers(target);
	drop_triggers();
	if (target != NULL)
		gathered_apply(&current->section, section_find(cfg_opt_name(opt)), target);
	gathered_clear(&current->section);
	cfg_opt_rmnsec(opt, 0);
	return 0;
}

static int
on_include(cfg_t *cfg, cfg_opt_t *opt, int argc, const char **argv)
{
	struct include *i;

	(void)opt;
	if (argc != 1) {
		conf_error(current->errors, current->file, cfg->line, "include takes one file name or pattern");
		return 0;
	}
	current->includes = xreallocarray(current->includes, current->includes_n + 1, sizeof(*current->includes));
	i = &current->includes[current->includes_n++];
	i->pattern = xstrdup(argv[0]);
	i->line = cfg->line;
	return 0;
}

static void
on_error(cfg_t *cfg, const char *fmt, va_list ap)
{
	static const char unknown[] = "no such option '";
	char text[1024];

	vsnprintf(text, sizeof(text), fmt, ap);
	if (strncmp(text, unknown, sizeof(unknown) - 1) != 0) {
		conf_error(current->errors, current->file, cfg->line, "%s", text);
		return;
	}
	text[strlen(text) - 1] = '\0';
	conf_error(current->errors, current->file, cfg->line, "unknown option \"%s\"%s%s", text + sizeof(unknown) - 1,
	    cfg == current->root ? "" : " in a section ", cfg == current->root ? "" : cfg_name(cfg));
}

/* Room for the sections and include of the top. */
#define SECTIONS_MAX	8

static size_t
options_n(const cfg_opt_t *opts)
{
	size_t n = 0;

	while (opts[n].name != NULL)
		n++;
	return n;
}

/* The options of a section in libconfuse's form, with room for more. */
static cfg_opt_t *
make_options(const struct conf_section *section)
{
	static const cfg_opt_t text = CFG_STR(0, 0, CFGF_NODEFAULT), list = CFG_STR_LIST(0, 0, CFGF_NODEFAULT);
	static const cfg_opt_t end = CFG_END();
	size_t n = 0;
	cfg_opt_t *opts;

	while (section->options[n].name != NULL)
		n++;
	opts = xcalloc(n + SECTIONS_MAX, sizeof(*opts));
	for (size_t i = 0; i < n; i++) {
		opts[i] = conf_type_is_list(section->options[i].type) ? list : text;
		opts[i].name = section->options[i].name;
		opts[i].parsecb = on_value;
		opts[i].validcb = on_checked;
	}
	opts[n] = end;
	return opts;
}

/* Adds the sections that stand within this one (NULL: at the top) to its options; subs are to be freed afterwards. */
static void
add_sections(cfg_opt_t *opts, const char *within, cfg_opt_t **subs)
{
	static const cfg_opt_t titled = CFG_SEC(0, 0, CFGF_MULTI | CFGF_TITLE), plain = CFG_SEC(0, 0, CFGF_MULTI);
	static const cfg_opt_t end = CFG_END();
	size_t n = options_n(opts);

	for (size_t i = 1; conf_sections[i].name != NULL; i++) {
		const struct conf_section *s = &conf_sections[i];

		if (within == NULL ? s->within != NULL : s->within == NULL || strcmp(s->within, within) != 0)
			continue;
		subs[i] = make_options(s);
		if (within == NULL)
			add_sections(subs[i], s->name, subs);
		opts[n] = within == NULL ? titled : plain;
		opts[n].name = s->name;
		opts[n].subopts = subs[i];
		opts[n++].validcb = within == NULL ? on_section : on_trigger;
	}
	opts[n] = end;
}

static cfg_t *
make_parser(void)
{
	static const cfg_opt_t include = CFG_FUNC("include", on_include), end = CFG_END();
	cfg_opt_t *top = make_options(&conf_sections[0]), *subs[SECTIONS_MAX] = { NULL };
	size_t n = options_n(top);
	cfg_t *cfg;

	top[n++] = include;
	top[n] = end;
	add_sections(top, NULL, subs);
	cfg = cfg_init(top, CFGF_NONE);
	if (cfg == NULL)
		fatal("conf");
	cfg_set_error_function(cfg, on_error);
	free(top);
	for (size_t i = 0; i < SECTIONS_MAX; i++)
		free(subs[i]);
	return cfg;
}

static void
scan_error(void *arg, int line, const char *fmt, ...)
{
	struct parse *p = arg;
	va_list ap;
	char text[1024];

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	conf_error(p->errors, p->file, line, "%s", text);
}

static void
run_parser(struct parse *p, char *clean)
{
	FILE *f;
	size_t before = p->errors->n;

	if (*clean == '\0')
		return;
	if ((f = fmemopen(clean, strlen(clean), "r")) == NULL)
		fatal("conf: fmemopen");
	current = p;
	p->root = make_parser();
	if (cfg_parse_fp(p->root, f) != CFG_SUCCESS && p->errors->n == before)
		conf_error(p->errors, p->file, p->root->line, "syntax error");
	gathered_apply(&p->top, &conf_sections[0], p->conf);
	gathered_clear(&p->section);
	gathered_clear(&p->inner);
	drop_triggers();
	cfg_free(p->root);
	fclose(f);
	current = NULL;
}

/* Patterns without a slash in front are relative to the file they stand in. A pattern may match nothing; a name not. */
static void
run_include(struct parse *p, const struct include *i)
{
	const char *slash = strrchr(p->file, '/');
	char *pattern = i->pattern[0] == '/' || slash == NULL ? xstrdup(i->pattern) :
	    xasprintf("%.*s/%s", (int)(slash - p->file), p->file, i->pattern);
	glob_t found;
	int rc;

	if (p->depth >= DEPTH_MAX) {
		conf_error(p->errors, p->file, i->line, "includes are nested too deeply");
		free(pattern);
		return;
	}
	rc = glob(pattern, GLOB_BRACE | GLOB_TILDE, NULL, &found);
	if (rc == GLOB_NOMATCH && strpbrk(i->pattern, "*?[") == NULL)
		conf_error(p->errors, p->file, i->line, "include: %s: no such file", pattern);
	else if (rc != 0 && rc != GLOB_NOMATCH)
		conf_error(p->errors, p->file, i->line, "include: %s: cannot be read", pattern);
	for (size_t n = 0; rc == 0 && n < found.gl_pathc; n++)
		parse_file(p->load, found.gl_pathv[n], p->file, i->line, p->depth + 1);
	if (rc == 0)
		globfree(&found);
	free(pattern);
}

static void
parse_text(struct load *load, const char *file, const char *text, size_t len, unsigned depth)
{
	struct parse p = { .load = load, .conf = load->conf, .errors = load->errors, .depth = depth };
	struct conf *conf = load->conf;
	char *clean;

	conf->files = xreallocarray(conf->files, conf->files_n + 1, sizeof(char *));
	conf->files[conf->files_n++] = xstrdup(file);
	p.file = conf->files[conf->files_n - 1];
	clean = conf_scan(text, len, scan_error, &p);
	if (clean != NULL)
		run_parser(&p, clean);
	free(clean);
	for (size_t i = 0; i < p.includes_n; i++) {
		run_include(&p, &p.includes[i]);
		free(p.includes[i].pattern);
	}
	free(p.includes);
}

/* NULL, with errno, when it cannot be read. */
static char *
read_all(const char *path, size_t *len)
{
	struct stat st;
	char *text;
	FILE *f;

	if ((f = fopen(path, "re")) == NULL)
		return NULL;
	if (fstat(fileno(f), &st) == -1 || S_ISDIR(st.st_mode)) {
		fclose(f);
		errno = EISDIR;
		return NULL;
	}
	text = xmalloc(FILE_MAX_BYTES + 1);
	*len = fread(text, 1, FILE_MAX_BYTES + 1, f);
	if (ferror(f) || *len > FILE_MAX_BYTES) {
		errno = ferror(f) ? errno : EFBIG;
		free(text);
		text = NULL;
	}
	fclose(f);
	return text;
}

static void
parse_file(struct load *load, const char *path, const char *from, int line, unsigned depth)
{
	struct conf_errors *errors = load->errors;
	struct conf *conf = load->conf;
	size_t len = 0;
	char *text;

	for (size_t i = 0; i < conf->files_n; i++) {
		if (strcmp(conf->files[i], path) == 0) {
			conf_error(errors, from, line, "include: %s has been read already", path);
			return;
		}
	}
	text = conf->files_n < FILES_MAX ? read_all(path, &len) : NULL;
	if (text == NULL && from != NULL)
		conf_error(errors, from, line, "include: %s: %s", path, conf->files_n < FILES_MAX ? strerror(errno) : "too many files");
	else if (text == NULL)
		conf_error(errors, path, 0, "%s", strerror(errno));
	else
		parse_text(load, path, text, len, depth);
	free(text);
}

static struct conf *
conf_new(const char *path)
{
	struct conf *conf = xcalloc(1, sizeof(*conf));

	conf->path = path != NULL ? xstrdup(path) : NULL;
	conf_section_defaults(&conf_sections[0], conf);
	return conf;
}

static struct conf *
conf_done(struct conf *conf, struct conf_errors *errors)
{
	if (errors->n == 0)
		conf_finish(conf, errors);
	if (errors->n == 0)
		return conf;
	conf_free(conf);
	return NULL;
}

struct conf *
conf_load(const char *path, struct conf_errors *errors)
{
	struct load load = { .conf = conf_new(path), .errors = errors };

	if (path != NULL)
		parse_file(&load, path, NULL, 0, 0);
	return conf_done(load.conf, errors);
}

struct conf *
conf_parse(const char *name, const char *text, size_t len, struct conf_errors *errors)
{
	struct load load = { .conf = conf_new(name), .errors = errors };

	parse_text(&load, name, text, len, 0);
	return conf_done(load.conf, errors);
}
