create or replace function pgconductor.python_words()
returns text
language sql immutable
as $$
    select '^(False|None|True|and|as|assert|async|await|break|class|continue|def|del|elif|else|except|finally|for|from|global|if|import'
        || '|in|is|lambda|nonlocal|not|or|pass|raise|return|try|while|with|yield'
        || '|Any|Literal|Never|NotRequired|Optional|TypeAlias|TypedDict|Union|bool|dict|float|int|list|str|remote|define_event)$'
$$;

comment on function pgconductor.python_words() is 'Engine. For generate_types and generate_tasks: the words that cannot be names in Python, and those that the text itself uses; a regular expression.';
