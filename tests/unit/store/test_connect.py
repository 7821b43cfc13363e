"""How a connection is asked for."""

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from relay.store.connect import complete


def test_a_url_is_completed_with_what_keeps_a_daemon_alive() -> None:
    info = conninfo_to_dict(complete("postgresql://u:p%40ss@h:1/d", "relay one"))
    assert (info["user"], info["password"], info["host"], info["port"], info["dbname"]) == ("u", "p@ss", "h", "1", "d")
    assert info["application_name"] == "relay one"
    assert info["target_session_attrs"] == "read-write"
    assert {"connect_timeout", "keepalives_idle", "tcp_user_timeout"} <= info.keys()


def test_what_the_url_says_wins() -> None:
    url = "postgresql://h/d?target_session_attrs=any&connect_timeout=60&application_name=theirs&sslmode=verify-full"
    info = conninfo_to_dict(complete(url, "ours"))
    assert info["target_session_attrs"] == "any"
    assert info["connect_timeout"] == "60"
    assert info["application_name"] == "theirs"
    assert info["sslmode"] == "verify-full"


def test_rows_come_as_utf8_whatever_the_url_says() -> None:
    assert conninfo_to_dict(complete("client_encoding=latin1", "ours"))["client_encoding"] == "UTF8"


def test_keywords_and_several_hosts_will_do() -> None:
    info = conninfo_to_dict(complete("host=a,b port=1,2 password='it\\'s'", "ours"))
    assert (info["host"], info["port"], info["password"]) == ("a,b", "1,2", "it's")


def test_nonsense_is_refused() -> None:
    with pytest.raises(psycopg.ProgrammingError):
        complete("nonsense=1", "ours")
