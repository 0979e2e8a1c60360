# The worker process; no libpq.
noinst_LTLIBRARIES += libworker.la
libworker_la_SOURCES = \
	worker/batch.c \
	worker/caller.c \
	worker/dialog.c \
	worker/durable.c \
	worker/execution.c \
	worker/handler.c \
	worker/internal.h \
	worker/keys.c \
	worker/link.c \
	worker/listen.c \
	worker/oneshot.c \
	worker/pool.c \
	worker/process.c \
	worker/program.c \
	worker/restart.c \
	worker/result.c \
	worker/route.c \
	worker/schemas.c \
	worker/session.c \
	worker/stream.c \
	worker/sweep.c \
	worker/table.c \
	worker/text.c \
	worker/worker.c worker/worker.h
libworker_la_CFLAGS = $(AM_CFLAGS) $(LIBEVENT_CFLAGS)
libworker_la_LIBADD = $(LIBEVENT_LIBS)
