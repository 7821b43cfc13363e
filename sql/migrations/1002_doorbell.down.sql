-- opt-in: drops the trigger by which an INSERT wakes a relay that sleeps, and its function.
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

-- squawk-ignore ban-drop-trigger
DROP TRIGGER "message_doorbell" ON "outbox"."message";
-- squawk-ignore ban-drop-function
DROP FUNCTION "outbox"."ring_doorbell"();
