create or replace function pgconductor.free_mark(body text)
returns text
language plpgsql immutable parallel safe
as $$
declare
    mark text;
begin
    -- Its first character does not come again in it, so what stands before a mark can never be read as part of one.
    for n in 0..2147483646 loop
        mark := '<' || n || '>';
        if position(mark in body) = 0 then
            return mark;
        end if;
    end loop;
end
$$;

comment on function pgconductor.free_mark(text) is 'Engine. A short text that does not occur in body.';
