"""A small library (authors, articles …): its tables and rows, and the metadata that tracks them."""

from typing import Any

import yaml

Json = dict[str, Any]
SCHEMA = """
CREATE TYPE mood AS ENUM ('happy', 'sad');
CREATE TABLE colour (value text PRIMARY KEY, comment text);
INSERT INTO colour VALUES ('red', 'like blood'), ('green', NULL);
CREATE TABLE author (
  id serial PRIMARY KEY, name text UNIQUE NOT NULL, born date, rating numeric, big bigint,
  is_registered boolean NOT NULL DEFAULT false, colour text REFERENCES colour, details jsonb, tags text[]
);
CREATE TABLE article (
  id serial PRIMARY KEY, title text NOT NULL, content text, author_id integer REFERENCES author,
  is_published boolean NOT NULL DEFAULT false, score double precision, published_on timestamptz, mood mood
);
CREATE TABLE detail (
  id serial PRIMARY KEY, author_id integer UNIQUE NOT NULL REFERENCES author, phone text NOT NULL
);
CREATE TABLE grid (id serial PRIMARY KEY, n integer, t text, b boolean);
INSERT INTO grid (n, t, b) SELECT n, t, b FROM unnest(ARRAY[NULL, -1, 0, 7]) n,
  unnest(ARRAY[NULL, '', 'a', 'ab', 'B%']) t, unnest(ARRAY[NULL, true, false]) b;
CREATE SCHEMA archive;
CREATE TABLE archive.box (
  id integer PRIMARY KEY, "odd name" text, label varchar(10) DEFAULT 'none' NOT NULL CHECK (label <> 'bad'),
  code char(4), bits bit(3), span interval, price money, prices money[]
);
CREATE FUNCTION full_name(a author) RETURNS text LANGUAGE sql STABLE
  AS $$ SELECT a.name || ' (' || a.id || ')' $$;
CREATE FUNCTION search_articles(search text) RETURNS SETOF article LANGUAGE sql STABLE
  AS $$ SELECT * FROM article WHERE title ILIKE '%' || search || '%' $$;
INSERT INTO author (name, born, rating, big, is_registered, colour, details, tags) VALUES
  ('Ann', '1980-01-02', 4.50, 9007199254740993, true, 'red',
   '{"a": {"b": [1, 2.50]}, "n": 18446744073709551617}', '{x,y}'),
  ('Bob', NULL, 3, 2, false, NULL, '[1, 2, 3]', NULL),
  ('Cyd', '1990-05-06', NULL, NULL, false, 'green', NULL, '{}');
INSERT INTO article (title, content, author_id, is_published, score, published_on) VALUES
  ('One', 'first', 1, true, 1.5, '2020-01-01T00:00:00Z'), ('Two', 'second', 1, false, 2.5, NULL),
  ('Three', 'third', 2, true, NULL, '2021-06-01T12:30:00Z');
INSERT INTO detail (author_id, phone) VALUES (1, '111');
INSERT INTO archive.box VALUES (1, 'odd', 'a');
"""
METADATA: Json = yaml.safe_load(
    """
version: 3
sources:
  - name: default
    kind: postgres
    functions: [{function: search_articles}]
    tables:
      - {table: colour, is_enum: true}
      - table: grid
        computed_fields: [{name: label, definition: {function: label}}]
        select_permissions: [{role: reader, permission: {columns: [id], filter: {label: {_eq: a}}}}]
      - table: {schema: public, name: author}
        array_relationships:
          - {name: articles, using: {foreign_key_constraint_on: {table: article, column: author_id}}}
        object_relationships:
          - {name: detail, using: {foreign_key_constraint_on: {table: detail, column: author_id}}}
        computed_fields: [{name: full_name, definition: {function: full_name}}]
        select_permissions:
          - role: user
            permission:
              columns: [id, name, is_registered, details]
              filter: {_or: [{id: X-Hasura-User-Id}, {is_registered: {_eq: true}}]}
              allow_aggregations: true
        insert_permissions:
          - role: user
            permission: {columns: [name], check: {name: {_neq: Eve}}, set: {is_registered: "true"}}
      - table: article
        object_relationships: [{name: author, using: {foreign_key_constraint_on: author_id}}]
        select_permissions:
          - role: user
            permission:
              columns: [id, title, author_id, is_published]
              filter: {_or: [{author_id: {_eq: X-Hasura-User-Id}}, {is_published: true}]}
              limit: 2
              allow_aggregations: true
          - {role: anonymous, permission: {columns: [title], filter: {is_published: true}}}
          - {role: limited, permission: {columns: [id], filter: {id: {_in: X-Hasura-Ids}}}}
        insert_permissions:
          - role: user
            permission:
              columns: [title, content, is_published]
              check: {author: {is_registered: {_eq: true}}}
              set: {author_id: x-hasura-user-id}
          - {role: service, permission: {columns: "*", check: {}, backend_only: true}}
        update_permissions:
          - role: user
            permission:
              columns: [title, is_published]
              filter: {author_id: {_eq: X-Hasura-User-Id}}
              check: {is_published: {_eq: false}}
        delete_permissions: [{role: user, permission: {filter: {author_id: {_eq: X-Hasura-User-Id}}}}]
      - table: detail
        object_relationships: [{name: author, using: {foreign_key_constraint_on: author_id}}]
        select_permissions:
          - {role: reader, permission: {columns: [id], filter: {_exists: {_table: author, _where: {}}}}}
          - {role: other, permission: {columns: [id], filter: {id: {_ceq: author_id}}}}
      - table: {schema: archive, name: box}
        configuration:
          column_config: {odd name: {custom_name: odd}}
          custom_root_fields: {select_by_pk: one_box}
inherited_roles: [{role_name: both, role_set: [anonymous, limited]}]
actions:
  - name: greet
    definition:
      type: query
      arguments: [{name: who, type: GreetInput!}]
      output_type: "[Greeting!]!"
      handler: http://localhost/greet
    permissions: [{role: user}]
  - name: later
    definition: {kind: asynchronous, output_type: Greeting, handler: http://localhost/later}
custom_types:
  input_objects:
    - {name: GreetInput, fields: [{name: id, type: Int!}, {name: note, type: jsonb}]}
  objects:
    - name: Greeting
      fields: [{name: text, type: String!}, {name: author_id, type: Int}]
      relationships:
        - {name: author, type: object, remote_table: author, field_mapping: {author_id: id}}
"""
)
