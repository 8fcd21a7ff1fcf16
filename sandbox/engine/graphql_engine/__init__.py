"""A stand-in for the Hasura GraphQL Engine v2, for machines where the genuine image cannot run.

It is a development tool and not Hasura: loopback only, labelled in its banner and in a response header.
"""
