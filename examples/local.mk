# Examples: built by make and used by tests and the quick start, not installed.
EXTRA_DIST += examples/python/basic/README.md examples/python/basic/tasks.py examples/python/children/README.md \
	examples/python/children/quote.py examples/python/cron/README.md examples/python/cron/heartbeat.py \
	examples/python/events/README.md examples/python/events/events.py examples/python/first_task/README.md \
	examples/python/first_task/greeting.py examples/python/first_task/invoke.py examples/python/queues/README.md \
	examples/python/queues/fill.py examples/python/queues/queues.conf examples/python/queues/queues.py \
	examples/python/schedules/README.md examples/python/schedules/reports.py examples/python/steps/README.md \
	examples/python/steps/labels.py examples/python/testing/README.md examples/python/testing/conftest.py \
	examples/python/testing/shop.py examples/python/testing/test_shop.py
EXTRA_DIST += examples/shell/queues/README.md examples/shell/queues/fill.sh examples/shell/queues/queues.conf \
	examples/shell/queues/work.sh
EXTRA_DIST += examples/durable.sh examples/handler.pl examples/handler.rb examples/triggers.sh
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
