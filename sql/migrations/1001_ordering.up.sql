-- opt-in, outside a transaction: makes the two indexes that order per key rides on, while producers go on writing.
-- squawk-ignore-file ban-concurrent-index-creation-in-transaction, require-lock-timeout, require-statement-timeout
-- Neither timeout would spare anybody: nobody queues behind this lock, and the work takes as long as the table is big.
-- In the order of bytes: the order of a language changes with the system's libraries, and an index in it breaks then.

CREATE INDEX CONCURRENTLY IF NOT EXISTS "message_key" ON "outbox"."message" (key COLLATE "C", id)
  WHERE status = 'pending';
CREATE INDEX CONCURRENTLY IF NOT EXISTS "message_failed_key" ON "outbox"."message" (key COLLATE "C")
  WHERE status = 'failed' AND key IS NOT NULL;

COMMENT ON INDEX "outbox"."message_key" IS 'Claims that keep order per key go from key to key by it.';
COMMENT ON INDEX "outbox"."message_failed_key" IS 'Finds keys that a failed row blocks.';
