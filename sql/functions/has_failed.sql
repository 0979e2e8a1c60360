create or replace function pgconductor.has_failed(node int)
returns boolean
language sql stable
as $$
    select exists (
        select from pgconductor.nodes n
        join pgconductor.finished_executions f on f.finished_at >= n.started_at and f.node = n.id
        where n.id = has_failed.node and f.state = 'failed')
$$;

comment on function pgconductor.has_failed(int) is
'Engine. Whether an execution has failed for good on a node since it was started, as far as history is kept.';
