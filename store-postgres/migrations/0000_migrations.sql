CREATE TABLE IF NOT EXISTS {schema}.migrations (
    version bigint PRIMARY KEY,
    name text NOT NULL,
    made_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE {schema}.migrations IS
    'The migrations of this schema, each applied once, in order.';
COMMENT ON COLUMN {schema}.migrations.version IS 'The number of the migration, from 1.';
COMMENT ON COLUMN {schema}.migrations.name IS 'The name of the migration.';
COMMENT ON COLUMN {schema}.migrations.made_at IS 'When it was applied.';
