# The command line and the binary. With master/ the only folder that includes libpq.
noinst_LTLIBRARIES += libcli.la
libcli_la_SOURCES = \
	cli/cli.h \
	cli/action.h \
	cli/batch.c cli/batch.h \
	cli/change.c \
	cli/cmd_migrate.c \
	cli/completion.c \
	cli/config.c \
	cli/conform.c cli/conform.h \
	cli/conform_flow.c \
	cli/conform_frames.c \
	cli/conform_json.c \
	cli/conform_process.c \
	cli/conform_raw.c \
	cli/conform_run.c \
	cli/conform_session.c \
	cli/conform_start.c \
	cli/conform_steps.c \
	cli/conform_batch.c \
	cli/conform_triggers.c \
	cli/conform_waits.c \
	cli/connect.c \
	cli/ctx.c cli/ctx.h \
	cli/ctx_event.c \
	cli/ctx_invoke.c \
	cli/ctx_schedule.c \
	cli/ctx_start.c \
	cli/ctx_step.c \
	cli/devdb.c cli/devdb.h \
	cli/devpg.c \
	cli/discover.c cli/discover.h \
	cli/emit.c \
	cli/error.c \
	cli/filter.c cli/filter.h \
	cli/gen.c \
	cli/grid.c cli/grid.h \
	cli/invoke.c \
	cli/logs.c \
	cli/look.c cli/look.h \
	cli/migrate.c cli/migrate.h \
	cli/new.c cli/templates.h \
	cli/options.c \
	cli/overview.c \
	cli/progress.c cli/progress.h \
	cli/ready.c \
	cli/register.c \
	cli/run.c \
	cli/schedule.c \
	cli/schema.c \
	cli/screen.c cli/screen.h \
	cli/select.c \
	cli/set.c \
	cli/show.c \
	cli/table.c \
	cli/top.c \
	cli/watch.c cli/watch.h
nodist_libcli_la_SOURCES = cli/templates.c
libcli_la_CFLAGS = $(AM_CFLAGS) $(LIBPQ_CFLAGS)
libcli_la_LIBADD = $(LIBPQ_LIBS)

# What `pgconductor new` writes.
templates = \
	cli/templates/task.c \
	cli/templates/task.conf \
	cli/templates/task.mts \
	cli/templates/task.py \
	cli/templates/task.sh \
	cli/templates/test.sh
BUILT_SOURCES += cli/templates.c
CLEANFILES += cli/templates.c
EXTRA_DIST += cli/embed.sh $(templates)

cli/templates.c: $(templates) cli/embed.sh
	@$(MKDIR_P) cli
	$(AM_V_GEN)$(SHELL) $(srcdir)/cli/embed.sh $(srcdir) $(templates) > $@.tmp && mv $@.tmp $@

bin_PROGRAMS += pgconductor
pgconductor_SOURCES = cli/main.c
pgconductor_CFLAGS = $(AM_CFLAGS) $(LIBPQ_CFLAGS)
pgconductor_LDADD = libcli.la libhandler.la libmaster.la libworker.la libsql.la libproto.la libcommon.la $(LIBPQ_LIBS)

# Completion, where shells look for it.
bashcompdir = $(datadir)/bash-completion/completions
zshcompdir = $(datadir)/zsh/site-functions
nodist_bashcomp_DATA = completion/pgconductor
nodist_zshcomp_DATA = completion/_pgconductor
CLEANFILES += $(nodist_bashcomp_DATA) $(nodist_zshcomp_DATA)

completion/pgconductor: pgconductor$(EXEEXT)
	@$(MKDIR_P) completion
	$(AM_V_GEN)./pgconductor completion bash > $@.tmp && mv $@.tmp $@

completion/_pgconductor: pgconductor$(EXEEXT)
	@$(MKDIR_P) completion
	$(AM_V_GEN)./pgconductor completion zsh > $@.tmp && mv $@.tmp $@
