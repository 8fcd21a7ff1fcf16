"""The whole sandbox as one unit: PostgreSQL, the engine, Diva, Pancake, the handlers, an edge."""
