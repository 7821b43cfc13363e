-- Marks confirmed rows sent, whoever holds their lease and even if given up since: the broker has them.
-- A standby that was behind when it was promoted gives out ids once more, hence the message_id.
-- Rides on the primary key.
UPDATE {table} AS m
SET status = 'sent', sent_at = now(), claimed_until = NULL
FROM unnest(%(ids)s::bigint[], %(message_ids)s::uuid[]) AS v (id, message_id)
WHERE m.id = v.id AND m.message_id = v.message_id AND m.status <> 'sent'
