-- The tables of Diva that the integration uses, as they are before its first migration.
-- contact_book.account_id has no foreign key yet, and app_setting no key of the integration.
CREATE SCHEMA controller;
CREATE TABLE controller.migration_log ("timestamp" bigint NOT NULL PRIMARY KEY, name text NOT NULL);

CREATE TABLE account (
    id uuid DEFAULT gen_random_uuid() PRIMARY KEY,
    display_name text,
    phone_code text,
    phone_number text,
    phone_enabled boolean DEFAULT true NOT NULL,
    deleted_at timestamptz,
    created_at timestamptz DEFAULT now() NOT NULL
);
CREATE INDEX account_phone_number_idx ON account (phone_number);

CREATE TABLE contact_book (
    id uuid DEFAULT gen_random_uuid() PRIMARY KEY,
    account_id uuid,
    name text,
    email text,
    address text,
    created_at timestamptz DEFAULT now() NOT NULL,
    updated_at timestamptz DEFAULT now() NOT NULL
);
CREATE INDEX contact_book_account_id_idx ON contact_book (account_id);

CREATE TABLE crm_master_data (
    id text PRIMARY KEY,
    name text NOT NULL,
    type text NOT NULL,
    disabled boolean DEFAULT false NOT NULL,
    updated_at timestamptz DEFAULT now() NOT NULL
);

CREATE TABLE staff (
    id uuid DEFAULT gen_random_uuid() PRIMARY KEY,
    full_name text NOT NULL,
    role text NOT NULL CHECK (role IN ('admin', 'manager', 'telesale')),
    is_active boolean DEFAULT true NOT NULL,
    on_duty boolean DEFAULT true NOT NULL
);

CREATE SEQUENCE ticket_code_seq;
CREATE TABLE ticket (
    id uuid DEFAULT gen_random_uuid() PRIMARY KEY,
    code text DEFAULT 'TK' || lpad(nextval('ticket_code_seq')::text, 6, '0') NOT NULL UNIQUE,
    title text NOT NULL,
    description text,
    source_id text NOT NULL REFERENCES crm_master_data (id),
    account_id uuid REFERENCES account (id),
    contact_book_id uuid REFERENCES contact_book (id),
    assignee_id uuid REFERENCES staff (id),
    status text DEFAULT 'new' NOT NULL CHECK (status IN ('new', 'in_progress', 'done', 'cancelled')),
    first_response_at timestamptz,
    data jsonb DEFAULT '{}' NOT NULL,
    created_at timestamptz DEFAULT now() NOT NULL,
    updated_at timestamptz DEFAULT now() NOT NULL
);
CREATE INDEX ticket_account_id_idx ON ticket (account_id);
CREATE INDEX ticket_assignee_id_idx ON ticket (assignee_id);

CREATE TABLE module_permission_action (
    id uuid DEFAULT gen_random_uuid() PRIMARY KEY,
    module text NOT NULL, action text NOT NULL, role text NOT NULL,
    UNIQUE (module, action, role)
);
CREATE TABLE notification_template (
    id uuid DEFAULT gen_random_uuid() PRIMARY KEY,
    code text NOT NULL UNIQUE, title text NOT NULL, body text NOT NULL, channel text NOT NULL
);
CREATE TABLE app_setting (id integer PRIMARY KEY, app_settings jsonb NOT NULL);
CREATE TABLE customer_consent (
    account_id uuid PRIMARY KEY REFERENCES account (id),
    consent_data jsonb DEFAULT '{}' NOT NULL,
    consent_version integer DEFAULT 1 NOT NULL
);
