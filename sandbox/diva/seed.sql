-- Rows that Diva has before the integration: staff, master data, settings and a few customers.
-- The setting tells the gates of a go-live that this is a sandbox (golive/load_installation).
DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET pancake.sandbox = ''on''', current_database()); END $$;

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

-- Quế is off duty, so that round robin skips her and records the reason.
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

-- Phones as people typed them: with and without the leading 0, old prefixes, disabled.
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
