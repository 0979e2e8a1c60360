create or replace function pgconductor.backoff(waits bigint[], factor float8, max_ms bigint, attempt int)
returns bigint
language sql volatile parallel safe
as $$
    -- ± 10 %, so that what failed together does not come back together. The exponent is capped against overflow.
    select ((0.9 + 0.2 * random()) * case
        when factor is null then waits[least(greatest(attempt, 1), cardinality(waits))]
        else least(waits[1] * power(factor, least(greatest(attempt, 1) - 1, 64)), max_ms)
        end)::bigint
$$;

comment on function pgconductor.backoff(bigint[], float8, bigint, int) is
'Engine. Milliseconds to wait after the given attempt (1: the first): waits[attempt], the last one repeated, or with a factor waits[1] * factor ^ (attempt - 1), max_ms at most; give or take a tenth.';
