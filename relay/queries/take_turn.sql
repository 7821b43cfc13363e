-- Waits for the turn of this table: with order per key one relay chooses at a time, until it commits.
-- Rides on a lock, and touches no table.
SELECT pg_advisory_xact_lock(1868722041, {table_name}::regclass::oid::integer)
