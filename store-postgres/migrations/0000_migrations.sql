CREATE TABLE IF NOT EXISTS {schema}.migrations (
    version bigint PRIMARY KEY,
    name text NOT NULL,
    made_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE {schema}.migrations IS
    'The steps that brought this schema to its form, each made once, in order.';
