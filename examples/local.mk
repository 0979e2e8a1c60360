# Examples: built by make and used by tests and the quick start, not installed.
EXTRA_DIST += examples/python/testing/README.md examples/python/testing/conftest.py examples/python/testing/shop.py \
	examples/python/testing/test_shop.py
EXTRA_DIST += examples/durable.sh examples/cron.py examples/durable.py examples/events.py examples/handler.pl examples/handler.rb examples/schedules.py examples/tasks.py examples/triggers.sh
if HAVE_JANSSON
noinst_PROGRAMS += examples/greet examples/triggers
endif
examples_greet_SOURCES = examples/greet.c
examples_greet_CPPFLAGS = -I$(top_srcdir)/proto/c
examples_greet_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS)
examples_greet_LDADD = libpgconductor.la $(JANSSON_LIBS)
examples_triggers_SOURCES = examples/triggers.c
examples_triggers_CPPFLAGS = -I$(top_srcdir)/proto/c
examples_triggers_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS)
examples_triggers_LDADD = libpgconductor.la $(JANSSON_LIBS)
