create or replace function pgconductor.python_name(name text)
returns text
language sql immutable
as $$
    select case when n ~ pgconductor.python_words() then n || '_' else n end
    from regexp_replace(regexp_replace(lower(name), '[^a-z0-9_]+', '_', 'g'), '^(?=\d)', '_') n
$$;

comment on function pgconductor.python_name(text) is 'Engine. For generate_tasks: the name of a variable, such as send_email.';
