-- post deploy: drops the functions of cleanup and requeue.
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

-- squawk-ignore ban-drop-function
DROP FUNCTION "outbox"."requeue_failed"(integer, bigint[], text);
-- squawk-ignore ban-drop-function
DROP FUNCTION "outbox"."delete_failed"(interval, integer);
-- squawk-ignore ban-drop-function
DROP FUNCTION "outbox"."delete_sent"(interval, integer);
