"""The whole sandbox, up and down as one: PostgreSQL, the engine, Diva, our handlers, an edge."""
