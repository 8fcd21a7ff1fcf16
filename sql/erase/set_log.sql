-- Keep statements' values out of PostgreSQL's log until the transaction ends, as far as the role may.
-- Returns name and is_set of each setting: is_set is false where the role may not set it and it has another value.
-- Relies on nothing. The last setting is free to every role.
SELECT
    s.name,
    CASE
        WHEN s.is_free OR has_parameter_privilege(s.name, 'SET') THEN set_config(s.name, s.value, true)
        ELSE current_setting(s.name)
    END = s.value AS is_set
FROM (
    VALUES
        ('log_parameter_max_length', '0', false),
        ('log_error_verbosity', 'terse', false),
        ('log_parameter_max_length_on_error', '0', true)
) AS s (name, value, is_free)
