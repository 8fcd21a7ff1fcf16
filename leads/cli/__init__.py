"""The operators' command `leads`: one module or package for each verb, under the verb's name."""
