SELECT current_setting('server_version') AS server_version,
       current_setting('server_encoding') AS server_encoding,
       current_setting('fsync') AS fsync,
       current_setting('synchronous_commit') AS synchronous_commit,
       current_setting('synchronous_standby_names') AS synchronous_standby_names,
       coalesce((SELECT relpersistence::text FROM pg_class
           WHERE oid = to_regclass('{schema}.transient')), '') AS transient_persistence
