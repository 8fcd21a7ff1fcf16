-- Insert the account of a new customer.
-- Returns nothing.
INSERT INTO public.account (id, display_name, phone_code, phone_number, phone_enabled, normalized_phone, pancake_metadata, created_at)
VALUES (
    %(account_id)s, %(display_name)s, %(phone_code)s, %(phone_number)s, true, %(phone)s, %(metadata)s::jsonb, %(now)s
)
