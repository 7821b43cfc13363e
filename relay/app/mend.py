"""What a person does about a server that cannot be used. Pure."""

from relay.model import Fault

_GONE = frozenset({Fault.UNREACHABLE, Fault.REFUSED, Fault.LOST, Fault.TIMEOUT, Fault.LIMIT, Fault.BLOCKED})
_NO_VHOST = "NOT_ALLOWED - vhost"

_DATABASE = {
    Fault.UNREACHABLE: "check the host in RELAY_DATABASE_URL and the network on the way to it",
    Fault.REFUSED: "check the host and the port in RELAY_DATABASE_URL, and that the server runs",
    Fault.AUTH: "check the user and the password in RELAY_DATABASE_URL, the role's rights, and pg_hba.conf",
    Fault.TLS: "check sslmode, sslrootcert, sslcert and sslkey in RELAY_DATABASE_URL, and the server's certificate",
    Fault.LOST: "the server ended the connection: look into its log, and into that of a pooler or proxy before it",
    Fault.TIMEOUT: "something takes connections but does not answer: check the server, and a pooler before it",
    Fault.LIMIT: "raise the server's, the database's or the role's limit of connections; RELAY_LANES + 2 are used",
    Fault.READ_ONLY: "point RELAY_DATABASE_URL at the primary, for a login without default_transaction_read_only",
    Fault.SCHEMA: "check the name of the database in RELAY_DATABASE_URL",
    Fault.PERMISSION: "let the login of RELAY_DATABASE_URL connect and read the catalogs",
    Fault.OTHER: "check RELAY_DATABASE_URL, or the file that RELAY_DATABASE_URL_FILE names",
}
_BROKER = {
    Fault.UNREACHABLE: "check the host in RELAY_AMQP_URL and the network on the way to it",
    Fault.REFUSED: "check the host and the port in RELAY_AMQP_URL, and that the broker runs",
    Fault.AUTH: "check the user and the password in RELAY_AMQP_URL, and the user's rights in the virtual host",
    Fault.TLS: "check cafile, certfile and keyfile in RELAY_AMQP_URL, and the broker's certificate",
    Fault.BLOCKED: "the broker blocks publishers: give it memory or disk space",
    Fault.LOST: "the broker ended the connection: check that the port speaks AMQP, and look into the broker's log",
    Fault.TIMEOUT: "something takes connections and does not answer: check the broker, and a proxy before it",
    Fault.LIMIT: "raise the broker's or the user's limit of connections or channels",
    Fault.OTHER: "check RELAY_AMQP_URL, or the file that RELAY_AMQP_URL_FILE names",
}


def back_by_itself(fault: Fault, detail: str = "") -> bool:
    """Return whether waiting may help; otherwise a person must change something."""
    return fault in _GONE and _NO_VHOST not in detail


def database_fix(fault: Fault) -> str:
    """Say what to look at when the database cannot be used."""
    return _DATABASE.get(fault, "look into the database server's log")


def broker_fix(fault: Fault, detail: str) -> str:
    """Say what to look at when the broker cannot be used; for the virtual host only the detail tells."""
    if _NO_VHOST in detail:
        return "check the virtual host in RELAY_AMQP_URL (/ itself is %2F), or make it: rabbitmqctl add_vhost NAME"
    return _BROKER.get(fault, "look into the broker's log")
