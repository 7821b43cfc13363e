-- Deletes a batch of failed rows; the function rides on the index message_failed.
SELECT {schema}.delete_failed(%(older_than)s, %(max_rows)s)
