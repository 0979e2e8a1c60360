create or replace function pgconductor.keep_interval(value jsonb)
returns interval
language sql immutable
as $$
    -- false is for ever, true at once.
    select case jsonb_typeof(value)
        when 'boolean' then case when value = 'true' then interval '0' end
        else make_interval(secs => pgconductor.duration_ms(value::json) / 1000.0) end
$$;

comment on function pgconductor.keep_interval(jsonb) is
'Engine. How long history is kept, of a checked remove_on_complete or remove_on_fail; null: for ever.';
