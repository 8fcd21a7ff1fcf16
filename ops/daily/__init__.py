"""The verbs of every day: one module each, with the verb's name."""
