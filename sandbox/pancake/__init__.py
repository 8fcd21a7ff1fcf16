"""A simulator of Pancake CRM: the REST API, the webhook sender, and a control API to drive both.

In production this is the vendor's. It follows the vendor's OpenAPI documents (2.0.0) where they speak, and
lets the caller choose where they do not (answer shape, order of the list, zones, retry policy).
"""
