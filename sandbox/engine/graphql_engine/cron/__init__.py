"""Cron triggers and one-off events: schedules, pre-generated events, delivery."""
