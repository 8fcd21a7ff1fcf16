"""Our metadata inside the project directory of a customer (Hasura CLI, config v3).

`hasura metadata apply` replaces everything that an engine holds. A project without our part removes our part.
"""
