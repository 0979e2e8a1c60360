create or replace function pgconductor.draw_ids(n int)
returns setof bigint
language sql volatile
as $$
    select nextval('pgconductor.executions_id_seq') from generate_series(1, draw_ids.n)
$$;

comment on function pgconductor.draw_ids(int) is
'Engine. Ids for what is still to be made, see make_call: one that is drawn beforehand is not used twice.';
