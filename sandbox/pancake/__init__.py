"""A simulator of Pancake CRM: the REST API, the webhook sender, and a control API to drive both.

In production this is the vendor's. The simulator follows the vendor's OpenAPI documents (2.0.0). What they
leave open is an option: answer shape, order of the list, UTC offsets, retry policy.
"""
