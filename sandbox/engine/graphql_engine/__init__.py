"""A stand-in for the Hasura GraphQL Engine v2, for machines where the genuine image cannot run.

It is a development tool, not Hasura: it listens on loopback only, and says so in its banner and in a header.
"""
