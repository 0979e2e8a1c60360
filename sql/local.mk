# The SQL, embedded: every file of sql/migrations and sql/functions stands here; tests/integration/test_sql_install.py
# proves that none is missing.
sql_files = \
	sql/migrations/0001_tables.sql \
	sql/migrations/0002_logs.sql \
	sql/migrations/0003_durable.sql \
	sql/migrations/0004_triggers.sql \
	sql/functions/attach_node.sql \
	sql/functions/awake.sql \
	sql/functions/backoff.sql \
	sql/functions/bad_item.sql \
	sql/functions/balance.sql \
	sql/functions/call_schedule.sql \
	sql/functions/cancel.sql \
	sql/functions/check_event.sql \
	sql/functions/check_options.sql \
	sql/functions/check_size.sql \
	sql/functions/check_writer.sql \
	sql/functions/clock_jump.sql \
	sql/functions/clock_moment.sql \
	sql/functions/clock_reached.sql \
	sql/functions/declare_schedules.sql \
	sql/functions/declare_subscriptions.sql \
	sql/functions/declare_task.sql \
	sql/functions/declare_triggers.sql \
	sql/functions/dispatch.sql \
	sql/functions/dispatch_waits.sql \
	sql/functions/drained.sql \
	sql/functions/draw_ids.sql \
	sql/functions/due_time.sql \
	sql/functions/duration_ms.sql \
	sql/functions/emit.sql \
	sql/functions/emit_json.sql \
	sql/functions/emit_jsonb.sql \
	sql/functions/emit_once.sql \
	sql/functions/enable_schedule.sql \
	sql/functions/end_cancelled.sql \
	sql/functions/end_event_waits.sql \
	sql/functions/end_waits.sql \
	sql/functions/ensure_partition.sql \
	sql/functions/ensure_queue.sql \
	sql/functions/evaluate_filter.sql \
	sql/functions/events_due.sql \
	sql/functions/execution_logs.sql \
	sql/functions/execution_steps.sql \
	sql/functions/executions_all.sql \
	sql/functions/expire.sql \
	sql/functions/fake_now.sql \
	sql/functions/fetch.sql \
	sql/functions/filter_fault.sql \
	sql/functions/find_home.sql \
	sql/functions/fire.sql \
	sql/functions/fire_schedules.sql \
	sql/functions/forget_running.sql \
	sql/functions/free_mark.sql \
	sql/functions/gone.sql \
	sql/functions/hide_escapes.sql \
	sql/functions/invoke.sql \
	sql/functions/invoke_batch.sql \
	sql/functions/invoke_general.sql \
	sql/functions/invoke_items.sql \
	sql/functions/invoke_json.sql \
	sql/functions/invoke_jsonb.sql \
	sql/functions/is_on.sql \
	sql/functions/keep_declared.sql \
	sql/functions/keep_interval.sql \
	sql/functions/kept_steps.sql \
	sql/functions/leave_dispatcher.sql \
	sql/functions/live_nodes.sql \
	sql/functions/load_tasks.sql \
	sql/functions/lock_dispatcher.sql \
	sql/functions/lock_shards.sql \
	sql/functions/make_call.sql \
	sql/functions/match_waits.sql \
	sql/functions/missed_events.sql \
	sql/functions/move_runs.sql \
	sql/functions/next_events.sql \
	sql/functions/next_tick.sql \
	sql/functions/note_running.sql \
	sql/functions/notify_owner.sql \
	sql/functions/now.sql \
	sql/functions/park.sql \
	sql/functions/parse_cron.sql \
	sql/functions/parse_cron_field.sql \
	sql/functions/partition_statements.sql \
	sql/functions/partitioned.sql \
	sql/functions/passing.sql \
	sql/functions/poll.sql \
	sql/functions/poll_interval.sql \
	sql/functions/poll_wakes.sql \
	sql/functions/probe.sql \
	sql/functions/promote.sql \
	sql/functions/put_schedule.sql \
	sql/functions/refresh_routes.sql \
	sql/functions/refuse_json.sql \
	sql/functions/rehome.sql \
	sql/functions/rehome_to.sql \
	sql/functions/release.sql \
	sql/functions/result.sql \
	sql/functions/retry.sql \
	sql/functions/save_step.sql \
	sql/functions/save_steps.sql \
	sql/functions/schedule.sql \
	sql/functions/schedule_json.sql \
	sql/functions/schedule_jsonb.sql \
	sql/functions/select_fields.sql \
	sql/functions/serve.sql \
	sql/functions/set_progress.sql \
	sql/functions/set_setting.sql \
	sql/functions/set_sources.sql \
	sql/functions/settle_full.sql \
	sql/functions/settle_locked.sql \
	sql/functions/settle_plain.sql \
	sql/functions/setup_session.sql \
	sql/functions/show_escapes.sql \
	sql/functions/start_subscribed.sql \
	sql/functions/steps_of.sql \
	sql/functions/store_floors.sql \
	sql/functions/suspend_runs.sql \
	sql/functions/sweep.sql \
	sql/functions/system_id.sql \
	sql/functions/take.sql \
	sql/functions/take_dispatcher.sql \
	sql/functions/take_wakes.sql \
	sql/functions/task_options.sql \
	sql/functions/task_values.sql \
	sql/functions/ticks_due.sql \
	sql/functions/tidy.sql \
	sql/functions/unlock_shards.sql \
	sql/functions/unpark.sql \
	sql/functions/unschedule.sql \
	sql/functions/upkeep.sql \
	sql/functions/use_lane.sql \
	sql/functions/wake.sql \
	sql/functions/write_logs.sql \
	sql/finish.sql

noinst_LTLIBRARIES += libsql.la
libsql_la_SOURCES = sql/sql.h
nodist_libsql_la_SOURCES = sql/embedded.c

BUILT_SOURCES += sql/embedded.c
CLEANFILES += sql/embedded.c
EXTRA_DIST += sql/embed.sh scripts/print-sql $(sql_files)

sql/embedded.c: $(sql_files) sql/embed.sh
	@$(MKDIR_P) sql
	$(AM_V_GEN)$(SHELL) $(srcdir)/sql/embed.sh $(srcdir) $(sql_files) > $@.tmp && mv $@.tmp $@
