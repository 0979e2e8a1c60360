create or replace function pgconductor.delayed(waiting text, run_at timestamptz)
returns boolean
language sql stable parallel safe
as $$ select coalesce(delayed.waiting = 'delayed' and delayed.run_at > pgconductor.now(), false) $$;

comment on function pgconductor.delayed(text, timestamptz) is
'Engine. Of an execution that has its ready_xid: its time has not come.';
