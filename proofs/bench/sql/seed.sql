-- A connection with a source, a default roster of all active telesales; kill switch off.
WITH c AS (
    INSERT INTO pancake_connection (name, workspace_id, token_sha256)
    VALUES ('benchmark', 1, decode(%(token_sha256)s, 'hex'))
    RETURNING id
)
INSERT INTO pancake_source (connection_id, pancake_source_id, name, is_active)
SELECT id, '-1', 'Facebook', true FROM c;

INSERT INTO pancake_assignee (staff_id) SELECT id FROM staff WHERE role = 'telesale' AND is_active;

UPDATE app_setting SET app_settings = jsonb_set(app_settings, '{pancake_integration,kill_switch}', 'false');
