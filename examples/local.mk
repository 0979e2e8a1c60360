# Examples: built by make and used by tests and the quick start, not installed.
EXTRA_DIST += examples/python/basic/README.md examples/python/basic/tasks.py examples/python/children/README.md \
	examples/python/children/quote.py examples/python/cron/README.md examples/python/cron/heartbeat.py \
	examples/python/events/README.md examples/python/events/events.py examples/python/first_task/README.md \
	examples/python/first_task/greeting.py examples/python/first_task/invoke.py examples/python/queues/README.md \
	examples/python/queues/fill.py examples/python/queues/queues.py \
	examples/python/schedules/README.md examples/python/schedules/reports.py examples/python/steps/README.md \
	examples/python/steps/labels.py examples/python/testing/README.md examples/python/testing/conftest.py \
	examples/python/testing/shop.py examples/python/testing/test_shop.py
EXTRA_DIST += examples/README.md examples/typescript/.npmrc examples/typescript/package.json examples/typescript/tsconfig.json \
	examples/typescript/basic/README.md examples/typescript/basic/tasks.ts examples/typescript/children/README.md \
	examples/typescript/children/quote.ts examples/typescript/cron/README.md examples/typescript/cron/heartbeat.ts \
	examples/typescript/events/README.md examples/typescript/events/events.ts examples/typescript/first_task/README.md \
	examples/typescript/first_task/greet.ts examples/typescript/first_task/greeting.ts examples/typescript/first_task/invoke.ts \
	examples/typescript/queues/README.md examples/typescript/queues/fill.ts examples/typescript/queues/queues.ts \
	examples/typescript/schedules/README.md examples/typescript/schedules/reports.ts examples/typescript/steps/README.md \
	examples/typescript/steps/labels.ts
EXTRA_DIST += examples/shell/queues/README.md examples/shell/queues/fill.sh examples/shell/queues/queues.conf \
	examples/shell/queues/work.sh examples/shell/steps/README.md examples/shell/steps/order.conf examples/shell/steps/order.sh \
	examples/shell/triggers/README.md examples/shell/triggers/triggers.conf examples/shell/triggers/triggers.sh
EXTRA_DIST += examples/c/first_task/README.md examples/c/steps/README.md examples/c/triggers/README.md
EXTRA_DIST += examples/handler.pl examples/handler.rb
if HAVE_JANSSON
noinst_PROGRAMS += examples/c/first_task/greeting examples/c/steps/labels examples/c/triggers/triggers
endif
examples_c_first_task_greeting_SOURCES = examples/c/first_task/greeting.c
examples_c_first_task_greeting_CPPFLAGS = -I$(top_srcdir)/proto/c
examples_c_first_task_greeting_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS)
examples_c_first_task_greeting_LDADD = libpgconductor.la $(JANSSON_LIBS)
examples_c_steps_labels_SOURCES = examples/c/steps/labels.c
examples_c_steps_labels_CPPFLAGS = -I$(top_srcdir)/proto/c
examples_c_steps_labels_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS)
examples_c_steps_labels_LDADD = libpgconductor.la $(JANSSON_LIBS)
examples_c_triggers_triggers_SOURCES = examples/c/triggers/triggers.c
examples_c_triggers_triggers_CPPFLAGS = -I$(top_srcdir)/proto/c
examples_c_triggers_triggers_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS)
examples_c_triggers_triggers_LDADD = libpgconductor.la $(JANSSON_LIBS)
