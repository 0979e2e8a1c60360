create or replace function pgconductor.discard(id bigint)
returns boolean
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    update pgconductor.finished_executions f
    set discarded_at = pgconductor.now()
    where f.id = discard.id and f.state = 'failed' and f.discarded_at is null
        and f.finished_at = (select max(l.finished_at) from pgconductor.finished_executions l where l.id = discard.id)
        and not exists (select from pgconductor.executions e where e.id = discard.id);
    return found;
end
$$;

comment on function pgconductor.discard(bigint) is
'Says that nobody needs to look after a failed execution any more: lists leave it out. Its history stays as long as that of others. False if it has not failed, or was discarded before.';
