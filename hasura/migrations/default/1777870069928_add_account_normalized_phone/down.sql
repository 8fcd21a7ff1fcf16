-- Drop normalized_phone, its indexes and pancake_metadata from account. Their values can be computed again from account and Pancake.
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

DROP TRIGGER IF EXISTS account_clear_normalized_phone ON public.account;
DROP FUNCTION IF EXISTS public.account_clear_normalized_phone();

ALTER TABLE public.account
    DROP COLUMN IF EXISTS normalized_phone,
    DROP COLUMN IF EXISTS pancake_metadata;
