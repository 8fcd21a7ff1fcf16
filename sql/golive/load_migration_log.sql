-- Load the version of Diva's newest migration.
-- Returns one row: newest, null if the log is empty. Relies on the primary key of controller.migration_log.
SELECT max(l."timestamp") AS newest FROM controller.migration_log AS l
