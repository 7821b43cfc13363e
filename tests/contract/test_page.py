"""The page of contracts is that of the tests."""

from tests.contract.page import FOLDER, PAGE, SUBJECTS, page


def test_the_page_of_contracts_is_that_of_the_tests() -> None:
    assert PAGE.read_text() == page(), "run: .venv/bin/python -m tests.contract.page"


def test_every_contract_with_a_server_or_a_library_is_on_the_page() -> None:
    ours = {"test_page", "test_publisher_port", "test_store_order", "test_store_port"}
    assert {path.stem for path in FOLDER.glob("test_*.py")} - ours == set(SUBJECTS)
