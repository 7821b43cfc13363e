"""A service that commits rows at a steady rate and writes down when each commit was answered.

Run as a process of its own; the monotonic clock is the same for all processes of a machine. It says `producer.ready`,
commits one row a transaction, and ends with `producer.done` and the time of each row by its id.
"""

import json
import os
import sys
import time

import psycopg

URL_VARIABLE, RATE_VARIABLE, SECONDS_VARIABLE = "PRODUCER_URL", "PRODUCER_RATE", "PRODUCER_SECONDS"
INSERT = """
INSERT INTO outbox.message (routing_key, payload)
VALUES ('order.placed', jsonb_build_object('note', repeat('please ring ', 36)))
RETURNING id::bigint
"""


def produce(url: str, rate: float, seconds: float) -> dict[int, float]:
    """Commit rows at moments set beforehand, so that a slow commit does not thin them out."""
    committed: dict[int, float] = {}
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(INSERT)  # prepares; its delay is not counted
        began = time.monotonic()
        for number in range(round(rate * seconds)):
            time.sleep(max(0.0, began + number / rate - time.monotonic()))
            ((row_id,),) = connection.execute(INSERT, prepare=True).fetchall()
            committed[row_id] = time.monotonic()
    return committed


def main() -> None:
    """Produce as the environment says."""
    sys.stdout.write(json.dumps({"event": "producer.ready"}) + "\n")
    sys.stdout.flush()
    committed = produce(os.environ[URL_VARIABLE], *(float(os.environ[v]) for v in (RATE_VARIABLE, SECONDS_VARIABLE)))
    sys.stdout.write(json.dumps({"event": "producer.done", "at": committed}) + "\n")


if __name__ == "__main__":
    main()
