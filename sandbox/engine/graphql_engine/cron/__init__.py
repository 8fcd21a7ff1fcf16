"""Cron triggers and one-off events: their schedule, their pre-generated events, the delivery."""
