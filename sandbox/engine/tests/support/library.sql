-- A small library: authors, articles and more, with rows.
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
