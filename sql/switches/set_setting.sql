-- Turn the kill switch and the pause on or off; null leaves one as it is. The history gets the reason.
-- Returns one row: kill_switch, processing_paused, as they were before. Relies on the view's trigger, which writes what differs.
UPDATE public.view_pancake_setting AS s
SET
    kill_switch = COALESCE(%(kill_switch)s::boolean, b.kill_switch),
    processing_paused = COALESCE(%(processing_paused)s::boolean, b.processing_paused),
    change_reason = %(reason)s
FROM public.pancake_switch() AS b
WHERE s.id = 1
RETURNING b.kill_switch, b.processing_paused
