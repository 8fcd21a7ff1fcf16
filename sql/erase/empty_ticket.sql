-- Empty what the integration wrote in a ticket: data.pancake, and those of its texts that are given; null keeps a text.
-- Returns nothing. Relies on ticket's primary key.
UPDATE public.ticket AS t
SET
    title = COALESCE(%(title)s, t.title), description = COALESCE(%(description)s, t.description),
    data = t.data - 'pancake', updated_at = %(now)s
WHERE t.id = %(id)s
