-- post deploy: drops the outbox table with every message in it; the schema stays.
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

-- squawk-ignore ban-drop-table
DROP TABLE "outbox"."message";
