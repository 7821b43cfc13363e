-- post deploy: fills the pages of the outbox table as before.
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

ALTER TABLE "outbox"."message" SET (fillfactor = 60);
