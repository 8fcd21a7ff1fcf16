-- Record that a lead gives no consent to marketing. An existing record is never changed.
-- Returns nothing.
INSERT INTO public.customer_consent (account_id, consent_data, consent_version)
SELECT %(account_id)s, '{"marketing": false, "marketing_origin": "pancake_lead"}', 1
WHERE NOT EXISTS (SELECT FROM public.customer_consent AS c WHERE c.account_id = %(account_id)s)
