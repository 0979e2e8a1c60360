# Examples: built by make and used by tests and the quick start, not installed.
EXTRA_DIST += examples/durable.sh examples/cron.py examples/durable.py examples/events.py examples/handler.pl examples/handler.rb examples/schedules.py examples/tasks.py
if HAVE_JANSSON
noinst_PROGRAMS += examples/greet
endif
examples_greet_SOURCES = examples/greet.c
examples_greet_CPPFLAGS = -I$(top_srcdir)/proto/c
examples_greet_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS)
examples_greet_LDADD = libpgconductor.la $(JANSSON_LIBS)
