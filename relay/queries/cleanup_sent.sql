-- Deletes a batch of sent rows; the function rides on the index message_sent.
SELECT {schema}.delete_sent(%(older_than)s, %(max_rows)s)
