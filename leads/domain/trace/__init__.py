"""A trace: what happened to a lead and why, from the stored rows of its events.

`read_search` says what a text can name, `tell_stories` turns the rows that it found into stories.
"""
