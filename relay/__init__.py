"""outbox-relay: carry committed outbox rows from Postgres to RabbitMQ, each one at least once."""

__version__ = "0.1.0"
