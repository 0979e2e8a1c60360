# The master: owns PostgreSQL and the workers.
noinst_LTLIBRARIES += libmaster.la
libmaster_la_SOURCES = \
	master/batch.c \
	master/bucket.h \
	master/calls.c \
	master/change.c \
	master/clock.c \
	master/clock.h \
	master/cron.c \
	master/db.c master/db.h \
	master/dispatch.c \
	master/due.c \
	master/event_types.c \
	master/fetch.c \
	master/health.c \
	master/keyed.c master/keyed.h \
	master/keylook.c \
	master/lane.c \
	master/limit.c \
	master/lines.c \
	master/link.c \
	master/master.h \
	master/node.c \
	master/note.c \
	master/param.c master/param.h \
	master/queue.c \
	master/reader.c \
	master/register.c \
	master/report.c \
	master/resolve.c master/resolve.h \
	master/resume.c \
	master/run.c \
	master/server.c master/server.h \
	master/settle.c \
	master/shard.c \
	master/snapshot.c \
	master/steps.c \
	master/suspend.c \
	master/task.c \
	master/trace.c master/trace.h \
	master/upkeep.c \
	master/wake.c \
	master/watch.c \
	master/worker.c
libmaster_la_CFLAGS = $(AM_CFLAGS) $(LIBPQ_CFLAGS) $(LIBEVENT_CFLAGS)
libmaster_la_LIBADD = $(LIBPQ_LIBS) $(LIBEVENT_LIBS)
