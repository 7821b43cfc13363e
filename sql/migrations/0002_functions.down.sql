-- post deploy: drops the functions of cleanup and requeue.
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

DROP FUNCTION "outbox"."requeue_failed"(integer, bigint[], text);
DROP FUNCTION "outbox"."delete_failed"(interval, integer);
DROP FUNCTION "outbox"."delete_sent"(interval, integer);
