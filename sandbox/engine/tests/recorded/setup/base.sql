-- The customer's tables before the first migration, as they were when the recordings were made.
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
INSERT INTO controller.migration_log ("timestamp", name) VALUES
 (1777870069926, 'add_ticket_first_response'),
 (1777870069927, 'add_staff_on_duty');
INSERT INTO crm_master_data (id, name, type) VALUES
 ('ticket_source_1', 'Hotline', 'ticket_source'),
 ('ticket_source_2', 'Website', 'ticket_source'),
 ('ticket_source_3', 'Facebook', 'ticket_source'),
 ('ticket_source_4', 'Zalo', 'ticket_source'),
 ('ticket_source_5', 'Email', 'ticket_source'),
 ('ticket_source_6', 'Walk-in', 'ticket_source'),
 ('ticket_source_7', 'Referral', 'ticket_source'),
 ('ticket_source_8', 'Other', 'ticket_source'),
 ('ticket_category_1', 'Consultation', 'ticket_category');
INSERT INTO staff (id, full_name, role, is_active, on_duty) VALUES
 ('a0000000-0000-4000-8000-000000000001', 'Nguyễn Thị An', 'admin', true, true),
 ('a0000000-0000-4000-8000-000000000002', 'Trần Văn Bình', 'admin', true, true),
 ('a0000000-0000-4000-8000-000000000003', 'Lê Thị Cúc', 'admin', true, true),
 ('b0000000-0000-4000-8000-000000000001', 'Phạm Văn Dũng', 'manager', true, true),
 ('b0000000-0000-4000-8000-000000000002', 'Hoàng Thị Giang', 'manager', true, true),
 ('c0000000-0000-4000-8000-000000000001', 'Vũ Thị Hạnh', 'telesale', true, true),
 ('c0000000-0000-4000-8000-000000000002', 'Đặng Văn Khoa', 'telesale', true, true),
 ('c0000000-0000-4000-8000-000000000003', 'Bùi Thị Lan', 'telesale', true, true),
 ('c0000000-0000-4000-8000-000000000004', 'Đỗ Văn Minh', 'telesale', true, true),
 ('c0000000-0000-4000-8000-000000000005', 'Ngô Thị Nga', 'telesale', true, true),
 ('c0000000-0000-4000-8000-000000000006', 'Dương Thị Quế', 'telesale', true, false);
INSERT INTO app_setting (id, app_settings) VALUES
 (1, '{"company": {"name": "Diva", "timezone": "Asia/Ho_Chi_Minh"}, "stringee": {"enabled": true}}');
INSERT INTO account (id, display_name, phone_code, phone_number, phone_enabled, created_at) VALUES
 ('d0000000-0000-4000-8000-000000000001', 'Lý Thị Sen', '84', '912345678', true, '2024-03-01 02:00:00+00'),
 ('d0000000-0000-4000-8000-000000000002', 'Mai Văn Tài', '84', '0987 654 321', true, '2024-05-09 02:00:00+00'),
 ('d0000000-0000-4000-8000-000000000003', 'Tô Thị Uyên', '84', '01689001002', true, '2017-11-20 02:00:00+00'),
 ('d0000000-0000-4000-8000-000000000004', 'Hồ Văn Việt', '84', '0909111222', false, '2023-01-05 02:00:00+00'),
 ('d0000000-0000-4000-8000-000000000005', 'Không có số', NULL, NULL, true, '2025-02-02 02:00:00+00');
INSERT INTO contact_book (id, account_id, name, email, address) VALUES
 ('e0000000-0000-4000-8000-000000000001', 'd0000000-0000-4000-8000-000000000001', 'Lý Thị Sen', 'sen@example.com',
  'Hà Nội');
INSERT INTO customer_consent (account_id, consent_data, consent_version) VALUES
 ('d0000000-0000-4000-8000-000000000001', '{"marketing": true}', 2);
INSERT INTO ticket (title, source_id, account_id, contact_book_id, assignee_id, status) VALUES
 ('Tư vấn qua tổng đài', 'ticket_source_1', 'd0000000-0000-4000-8000-000000000001',
  'e0000000-0000-4000-8000-000000000001', 'c0000000-0000-4000-8000-000000000001', 'in_progress');
INSERT INTO module_permission_action (module, action, role) VALUES
 ('ticket', 'access', 'admin'), ('ticket', 'access', 'manager'), ('ticket', 'access', 'telesale'),
 ('ticket', 'assign', 'admin'), ('ticket', 'assign', 'manager'), ('setting', 'access', 'admin');
INSERT INTO notification_template (code, title, body, channel) VALUES
 ('noti_ticket_assigned', 'Ticket mới', 'Bạn được giao ticket {{code}}', 'app'),
 ('noti_ticket_overdue', 'Ticket quá hạn', 'Ticket {{code}} đã quá hạn', 'app');
