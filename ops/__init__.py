"""The operators' command `leads`: one module or package for each verb, with the verb's name."""
