-- How many messages wait, retry or were given up, each counted up to 100,000 along its index.
SELECT
  (
    SELECT count(*)
    FROM (SELECT FROM "outbox"."message" WHERE status = 'pending' ORDER BY id LIMIT 100000) AS p
  ) AS pending,
  (
    SELECT count(*)
    FROM (
      SELECT FROM "outbox"."message" WHERE status = 'pending' AND failures > 0 ORDER BY id LIMIT 100000
    ) AS r
  ) AS of_these_retrying,
  (
    SELECT count(*)
    FROM (SELECT FROM "outbox"."message" WHERE status = 'failed' ORDER BY id LIMIT 100000) AS f
  ) AS failed;
