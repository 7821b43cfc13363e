-- opt-in, outside a transaction: drops the two indexes of order per key.

DROP INDEX CONCURRENTLY IF EXISTS "outbox"."message_failed_key";
DROP INDEX CONCURRENTLY IF EXISTS "outbox"."message_key";
