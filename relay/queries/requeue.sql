-- Makes a batch of failed rows pending again; the function rides on the index message_failed.
SELECT {schema}.requeue_failed(%(max_rows)s)
