create or replace function pgconductor.system_id()
returns bigint
language plpgsql stable
as $$
begin
    return (select c.system_identifier from pg_catalog.pg_control_system() c);
exception when insufficient_privilege or undefined_function then
    -- Some hosters revoke it. A restored dump is then noticed only by floors beyond the present.
    return 0;
end
$$;

comment on function pgconductor.system_id() is
'Engine. The database cluster''s system identifier; 0 where it may not be read.';
