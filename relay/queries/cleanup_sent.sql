-- Deletes a batch of sent rows; the function rides on the index message_sent.
-- It deletes nothing while another session does, by this lock, so its turn is waited for: 0 then means that none is left.
WITH turn AS MATERIALIZED (
  SELECT pg_advisory_xact_lock(1868722040, {table_name}::regclass::oid::integer)
)
SELECT {schema}.delete_sent(%(older_than)s, %(max_rows)s)
FROM turn
