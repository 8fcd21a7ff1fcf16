-- Count the columns of Diva's tables that the integration uses and the database does not have (docs/diva-contract.md).
-- Returns one row: expected, missing, details (their names).
-- Relies on the catalog alone.
WITH used AS (
    SELECT t.relation, unnest(string_to_array(t.columns, ' ')) AS attribute
    FROM (VALUES
        ('account', 'id display_name phone_code phone_number phone_enabled deleted_at created_at'),
        ('contact_book', 'id account_id name email address created_at updated_at'),
        ('crm_master_data', 'id name type disabled updated_at'),
        ('ticket', 'id code title description source_id account_id contact_book_id assignee_id status first_response_at data'),
        ('ticket', 'created_at updated_at'),
        ('staff', 'id full_name role is_active on_duty'),
        ('module_permission_action', 'id module action role'),
        ('notification_template', 'id code title body channel'),
        ('app_setting', 'id app_settings'),
        ('customer_consent', 'account_id consent_data consent_version')
    ) AS t (relation, columns)
), missing AS (
    SELECT u.relation || '.' || u.attribute AS name
    FROM used AS u
    WHERE NOT EXISTS (
        SELECT FROM pg_catalog.pg_attribute AS a
        WHERE a.attrelid = to_regclass('public.' || u.relation) AND a.attname = u.attribute AND NOT a.attisdropped
    )
)
SELECT
    (SELECT count(*) FROM used) AS expected,
    count(*) AS missing,
    string_agg(m.name, ', ' ORDER BY m.name) AS details
FROM missing AS m
