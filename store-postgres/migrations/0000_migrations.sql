CREATE TABLE IF NOT EXISTS {schema}.migrations (
    version bigint PRIMARY KEY,
    name text NOT NULL,
    made_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE {schema}.migrations IS
    'The steps that brought this schema to its form, each made once, in order.';
COMMENT ON COLUMN {schema}.migrations.version IS 'The step''s number, from 1.';
COMMENT ON COLUMN {schema}.migrations.name IS 'The step''s name.';
COMMENT ON COLUMN {schema}.migrations.made_at IS 'When it was made.';
