-- Switch a source on or off. The history gets the reason.
-- Returns one row: was_on; none if the source does not exist, or cannot be switched on. Relies on pk_pancake_source.
WITH source AS (
    SELECT s.id, s.is_active
    FROM public.pancake_source AS s
    WHERE s.id = %(id)s::uuid AND (NOT %(is_on)s OR NOT s.is_removed AND (s.name IS NOT NULL OR s.pancake_source_id = '(none)'))
    FOR NO KEY UPDATE
)
UPDATE public.pancake_source AS s
SET is_active = %(is_on)s, change_reason = %(reason)s
FROM source AS b
WHERE s.id = b.id
RETURNING b.is_active AS was_on
