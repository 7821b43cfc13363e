-- Counts the rows that a cleanup of sent ones would delete.
-- Rides on the index message_sent.
SELECT count(*) FROM {table} WHERE status = 'sent' AND sent_at < now() - %(older_than)s
