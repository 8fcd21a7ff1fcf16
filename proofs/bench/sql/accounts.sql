-- One in twenty accounts has an old prefix; one in twenty a foreign, landline, double or unusable number.
INSERT INTO account (display_name, phone_code, phone_number, phone_enabled)
SELECT
    'Account ' || n,
    '84',
    CASE
        WHEN n %% 20 = 0 THEN '0168' || lpad((n %% 10000000)::text, 7, '0')
        WHEN n %% 20 = 1 THEN (ARRAY[
            '', 'none', '123', '+1 650 253 0000', '028 3812 3456', '84 28 3812 3456',
            '0912345678 / 0987654321', '00000000000', '1900 1234', '0084 912 345 678'
        ])[1 + n / 20 %% 10]
        WHEN n %% 2 = 0 THEN '0' || 900000000 + n %% 90000000
        ELSE (300000000 + 20000000 + n %% 70000000)::text
    END,
    n %% 50 <> 0
FROM generate_series(1, %(accounts)s) AS n;
