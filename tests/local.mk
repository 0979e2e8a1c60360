# Integration tests: one test file is one automake test, its cases are counted one by one by the driver.
# A new file of tests/integration stands here; tests/check-lists proves that none is missing.
TEST_EXTENSIONS = .py .sh
PY_LOG_DRIVER = srcdir='$(top_srcdir)' $(SHELL) $(top_srcdir)/tests/run-integration
PY_LOG_COMPILER =
# A busy machine makes a quick test slow, and not wrong.
AM_TESTS_ENVIRONMENT = CK_DEFAULT_TIMEOUT=60; export CK_DEFAULT_TIMEOUT;
SH_LOG_COMPILER = env srcdir='$(top_srcdir)' $(SHELL)

# Those that take or wait longest come first: at the end of make -j no processor waits for the last one.
integration_tests = \
	tests/integration/test_documents.py \
	tests/integration/test_conform.py \
	tests/integration/test_triggers.py \
	tests/integration/test_model.py \
	tests/integration/test_engine_reading.py \
	tests/integration/test_durable.py \
	tests/integration/test_engine_nodes.py \
	tests/integration/test_durable_engine.py \
	tests/integration/test_engine_sleep.py \
	tests/integration/test_fault_stop.py \
	tests/integration/test_worker_faults.py \
	tests/integration/test_keys.py \
	tests/integration/test_limits.py \
	tests/integration/test_durable_limits.py \
	tests/integration/test_examples.py \
	tests/integration/test_gen.py \
	tests/integration/test_python_handlers.py \
	tests/integration/test_node_package.py \
	tests/integration/test_node_handlers.py \
	tests/integration/test_upgrade.py \
	tests/integration/test_sql_events.py \
	tests/integration/test_sql_flow.py \
	tests/integration/test_worker_soak.py \
	tests/integration/test_changes.py \
	tests/integration/test_cli_basic.py \
	tests/integration/test_cli_completion.py \
	tests/integration/test_cli_dev.py \
	tests/integration/test_cli_executions.py \
	tests/integration/test_cli_list.py \
	tests/integration/test_cli_ready.py \
	tests/integration/test_cli_terminal.py \
	tests/integration/test_cli_top.py \
	tests/integration/test_ctx.py \
	tests/integration/test_cron.py \
	tests/integration/test_durable_kills.py \
	tests/integration/test_durable_transactions.py \
	tests/integration/test_fault_chaos.py \
	tests/integration/test_fault_commit.py \
	tests/integration/test_fault_kills.py \
	tests/integration/test_fault_locks.py \
	tests/integration/test_fault_nodes.py \
	tests/integration/test_fault_payloads.py \
	tests/integration/test_fault_restore.py \
	tests/integration/test_fault_orphans.py \
	tests/integration/test_engine_delayed.py \
	tests/integration/test_engine_settle.py \
	tests/integration/test_engine_steps.py \
	tests/integration/test_engine_connect.py \
	tests/integration/test_engine_server.py \
	tests/integration/test_event_kills.py \
	tests/integration/test_events.py \
	tests/integration/test_fixtures.py \
	tests/integration/test_flow_kills.py \
	tests/integration/test_flow_model.py \
	tests/integration/test_new.py \
	tests/integration/test_batch.py \
	tests/integration/test_batch_languages.py \
	tests/integration/test_logs.py \
	tests/integration/test_programs.py \
	tests/integration/test_python_client.py \
	tests/integration/test_python_conform.py \
	tests/integration/test_python_durable.py \
	tests/integration/test_python_package.py \
	tests/integration/test_python_pytest.py \
	tests/integration/test_python_triggers.py \
	tests/integration/test_python_types.py \
	tests/integration/test_node_client.py \
	tests/integration/test_node_durable.py \
	tests/integration/test_node_launch.py \
	tests/integration/test_node_tasks.py \
	tests/integration/test_node_triggers.py \
	tests/integration/test_schemas.py \
	tests/integration/test_set.py \
	tests/integration/test_sql_batch.py \
	tests/integration/test_sql_changes.py \
	tests/integration/test_sql_children.py \
	tests/integration/test_sql_cron.py \
	tests/integration/test_sql_edit.py \
	tests/integration/test_edit.py \
	tests/integration/test_pause.py \
	tests/integration/test_sql_keys.py \
	tests/integration/test_sql_history.py \
	tests/integration/test_sql_invoke.py \
	tests/integration/test_sql_logs.py \
	tests/integration/test_sql_plans.py \
	tests/integration/test_sql_priority.py \
	tests/integration/test_sql_upkeep.py \
	tests/integration/test_sql_install.py \
	tests/integration/test_sql_settle.py \
	tests/integration/test_sql_save_step.py \
	tests/integration/test_sql_schedules.py \
	tests/integration/test_sql_steps.py \
	tests/integration/test_sql_suspend.py \
	tests/integration/test_sql_shards.py \
	tests/integration/test_sql_tasks.py \
	tests/integration/test_upkeep.py \
	tests/integration/test_worker_handlers.py \
	tests/integration/test_worker_oneshot.py \
	tests/integration/test_worker_pools.py \
	tests/integration/test_worker_schemas.py \
	tests/integration/test_worker_steps.py

# What the tests of the libraries install, and the data of a new PostgreSQL server, which each test starts from.
.PHONY: clean-tests
clean-local: clean-tests
clean-tests:
	-rm -rf tests/mypy tests/node tests/pycache tests/pydantic tests/pydantic.lock tests/initdb-*

source_checks = \
	tests/check-docs.sh \
	tests/check-libpq.sh \
	tests/check-lists.sh

TESTS += $(source_checks) $(integration_tests)

# What is run once more from the packed release, where a file that was not packed is missing.
release_tests = $(source_checks) $(unit_tests) tests/integration/test_fixtures.py

EXTRA_DIST += $(source_checks) $(integration_tests) \
	tests/run-integration tests/pytest.ini tests/integration/conftest.py tests/integration/schemas/1.sql \
	tests/integration/schemas/2.sql \
	tests/model/engine.pml \
	tests/support/__init__.py tests/support/app.py tests/support/automake.py tests/support/cluster.py \
	tests/support/conform_handler.py tests/support/conform_node.mjs tests/support/conform_python.py \
	tests/support/cutter.py tests/support/documents.py tests/support/durable.py tests/support/durable_node.mjs \
	tests/support/durable_python.py tests/support/engine.py tests/support/fakemaster.py \
	tests/support/fault_handler.py tests/support/faults.py tests/support/fleet.py tests/support/flow_handler.py tests/support/flow_model.py tests/support/flow_play.py tests/support/handler.py tests/support/ledger.py tests/support/mypy.py \
	tests/support/limits.py tests/support/places.py \
	tests/support/batch_handler.py \
	tests/support/batch_python.py \
	tests/support/batch_node.mjs \
	tests/support/node.py tests/support/node_documents/client.ts tests/support/node_documents/schemas.ts \
	tests/support/node_documents/worker.ts tests/support/paths.py tests/support/said_handler.py tests/support/processes.py tests/support/proxy.py \
	tests/support/played.py tests/support/python_events.py tests/support/python_lasting.py tests/support/pydantic_tasks.py tests/support/python_tasks.py tests/support/python_typed.py tests/support/server.py \
	tests/support/sqlnode.py tests/support/step_handler.py tests/support/terminal.py \
	tests/support/transaction_handler.py tests/support/triggers.py tests/support/triggers_python.py tests/support/triggers_node.mjs tests/support/wait.py tests/support/world.py \
	scripts/build scripts/deps scripts/quickstart scripts/test .ci/run

# The tasks of tests/support/durable_c.c as scripts.
EXTRA_DIST += tests/support/durable_shell/cancel.sh tests/support/durable_shell/common.sh \
	tests/support/durable_shell/double.sh tests/support/durable_shell/flaky.sh \
	tests/support/durable_shell/flow.sh tests/support/durable_shell/fruit.sh \
	tests/support/durable_shell/keep.sh tests/support/durable_shell/keyless.sh \
	tests/support/durable_shell/leaf.sh tests/support/durable_shell/loop.sh \
	tests/support/durable_shell/many.sh tests/support/durable_shell/parent.sh \
	tests/support/durable_shell/sleep.sh tests/support/durable_shell/start.sh \
	tests/support/durable_shell/steps.sh tests/support/durable_shell/ten.sh \
	tests/support/durable_shell/tree.sh tests/support/durable_shell/twice.sh

# The tasks of tests/support/triggers_c.c as scripts.
EXTRA_DIST += tests/support/triggers_shell/answer.sh tests/support/triggers_shell/ask.sh \
	tests/support/triggers_shell/common.sh tests/support/triggers_shell/enter.sh \
	tests/support/triggers_shell/plan.sh tests/support/triggers_shell/say.sh \
	tests/support/triggers_shell/unplan.sh tests/support/triggers_shell/wait.sh

# The tasks of docs/conform.md on libpgconductor, for test_conform.py.
if HAVE_JANSSON
check_PROGRAMS += tests/support/batch_c tests/support/conform_c tests/support/cron_c tests/support/durable_c tests/support/events_c \
	tests/support/triggers_c
endif
tests_support_conform_c_SOURCES = tests/support/conform_c.c tests/support/program.h
tests_support_conform_c_CPPFLAGS = -I$(top_srcdir)/proto/c
tests_support_conform_c_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS)
tests_support_conform_c_LDADD = libpgconductor.la $(JANSSON_LIBS)

# Schedules, for test_cron.py.
tests_support_cron_c_SOURCES = tests/support/cron_c.c tests/support/program.h
tests_support_cron_c_CPPFLAGS = -I$(top_srcdir)/proto/c
tests_support_cron_c_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS)
tests_support_cron_c_LDADD = libpgconductor.la $(JANSSON_LIBS)

# Events, for test_events.py.
tests_support_events_c_SOURCES = tests/support/events_c.c tests/support/program.h
tests_support_events_c_CPPFLAGS = -I$(top_srcdir)/proto/c
tests_support_events_c_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS)
tests_support_events_c_LDADD = libpgconductor.la $(JANSSON_LIBS)

# What starts and resumes executions, for test_triggers.py.
tests_support_triggers_c_SOURCES = tests/support/triggers_c.c tests/support/program.h
tests_support_triggers_c_CPPFLAGS = -I$(top_srcdir)/proto/c
tests_support_triggers_c_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS)
tests_support_triggers_c_LDADD = libpgconductor.la $(JANSSON_LIBS)

# Executions that last, for test_durable.py.
tests_support_batch_c_SOURCES = tests/support/batch_c.c tests/support/program.h
tests_support_batch_c_CPPFLAGS = -I$(top_srcdir)/proto/c
tests_support_batch_c_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS)
tests_support_batch_c_LDADD = libpgconductor.la $(JANSSON_LIBS)
tests_support_durable_c_SOURCES = tests/support/durable_c.c tests/support/program.h
tests_support_durable_c_CPPFLAGS = -I$(top_srcdir)/proto/c
tests_support_durable_c_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS)
tests_support_durable_c_LDADD = libpgconductor.la $(JANSSON_LIBS)

# make bench: the figures, with their targets. make bench ROWS="drain latency" for some of them.
bench_programs = tests/bench/ceiling tests/bench/forkloop tests/bench/latency tests/bench/noop_handler \
	tests/bench/durable_handler
EXTRA_PROGRAMS = $(bench_programs)
CLEANFILES += $(bench_programs)
EXTRA_DIST += tests/bench/bench.py tests/bench/harness.py tests/bench/rows_changes.py tests/bench/rows_client.py tests/bench/rows_drain.py \
	tests/bench/rows_durable.py tests/bench/rows_events.py tests/bench/rows_flow.py tests/bench/rows_keys.py tests/bench/rows_server.py tests/bench/durable.mjs \
	tests/bench/durable.py tests/bench/graphile.mjs tests/bench/noop.mjs tests/bench/noop.py

tests_bench_ceiling_SOURCES = tests/bench/ceiling.c
tests_bench_ceiling_CFLAGS = $(AM_CFLAGS) $(LIBPQ_CFLAGS)
tests_bench_ceiling_LDADD = $(LIBPQ_LIBS)
tests_bench_forkloop_SOURCES = tests/bench/forkloop.c
tests_bench_latency_SOURCES = tests/bench/latency.c
tests_bench_latency_CFLAGS = $(AM_CFLAGS) $(LIBPQ_CFLAGS)
tests_bench_latency_LDADD = $(LIBPQ_LIBS)
tests_bench_durable_handler_SOURCES = tests/bench/durable_handler.c tests/bench/counter.h
tests_bench_durable_handler_LDADD = libpgconductor.la
tests_bench_noop_handler_SOURCES = tests/bench/noop_handler.c tests/bench/counter.h
tests_bench_noop_handler_LDADD = libpgconductor.la

ROWS =
.PHONY: bench
bench: all $(bench_programs)
	@PGC_SRCDIR='$(abs_top_srcdir)' PGC_BUILDDIR='$(abs_top_builddir)' \
	    /usr/bin/python3 '$(abs_top_srcdir)/tests/bench/bench.py' $(ROWS)

# The long forms of the fault and property tests. PGC_SEED replays one.
.PHONY: check-long
check-long:
	PGC_LONG=1 $(MAKE) $(AM_MAKEFLAGS) check
