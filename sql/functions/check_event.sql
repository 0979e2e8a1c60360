create or replace function pgconductor.check_event(what text, event text, payload text)
returns json
language plpgsql stable
as $$
declare
    why text;
begin
    -- A regular expression that counts to 200 costs as much as the insert.
    if event is null or event ~ '[[:space:][:cntrl:]]' or length(event) not between 1 and 200 then
        raise exception using errcode = 'PC013',
            message = format('%s: event: %L is not an event''s name', what, event),
            hint = 'Any characters but blanks, 200 at most, such as order.paid.';
    end if;
    if octet_length(payload) > 1024 then
        perform pgconductor.check_size(what, octet_length(payload));
    end if;
    return coalesce(payload, 'null')::json;
exception
when invalid_text_representation or untranslatable_character or statement_too_complex then
    get stacked diagnostics why = pg_exception_detail;
    perform pgconductor.refuse_json(what, payload, coalesce(nullif(why, ''), sqlerrm));
end
$$;

comment on function pgconductor.check_event(text, text, text) is
'Engine. The payload of an event to be emitted, as json. PC002 not JSON, PC003 too large, PC013 bad name.';
