"""The rules, pure: no await, no clock, no random numbers, no environment, no SQL."""
