create or replace function pgconductor.check_size(what text, bytes bigint)
returns void
language plpgsql stable
as $$
declare
    allowed constant bigint := (select s.value::bigint from pgconductor.settings s where s.name = 'max_payload');
begin
    if bytes > allowed then
        raise exception using errcode = 'PC003',
            message = format('%s: payload: %s bytes, the limit is %s', what, bytes, allowed),
            hint = 'Store large data elsewhere and pass a reference, or raise max_payload.';
    end if;
end
$$;

comment on function pgconductor.check_size(text, bigint) is 'Engine. Raises PC003 for a payload above the limit.';
