-- pre deploy: leaves more room in each page of the outbox table, so that a claim rewrites every row in place.
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

-- A page must take each of its rows once more, longer by a lease and its token. At 60 the last row of a page did not fit:
-- it went elsewhere, with new entries in the indexes. Pages that stand are not rewritten.
ALTER TABLE "outbox"."message" SET (fillfactor = 45);
