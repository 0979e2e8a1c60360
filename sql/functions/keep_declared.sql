create or replace function pgconductor.keep_declared(source text, names text[])
returns int
language plpgsql volatile
as $$
declare
    t pgconductor.tasks;
    n int := 0;
begin
    for t in
        select x.* from pgconductor.tasks x
        where x.sources ? keep_declared.source and not x.name = any (keep_declared.names)
        order by x.name
        for update
    loop
        perform pgconductor.set_sources(t, t.sources - keep_declared.source);
        n := n + 1;
    end loop;
    return n;
end
$$;

comment on function pgconductor.keep_declared(text, text[]) is
'Engine. Drops what a source once said of tasks other than these: they have been taken out of the configuration, say. The tasks stay declared. Returns how many it were.';
