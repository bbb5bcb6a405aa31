"""Meshes and hosts as users name them."""

import pytest

from lite.devices import Hosts, parse_hosts, parse_mesh
from lite.errors import UsageError


def test_a_mesh_has_one_part_along_an_axis_that_is_not_named() -> None:
    assert parse_mesh("data=4,model=2") == {"data": 4, "model": 2}
    assert parse_mesh(" model = 3 ") == {"data": 1, "model": 3}


@pytest.mark.parametrize("text", ["data=0", "data=2;model=2", "rows=2", "data", "data=two"])
def test_a_mesh_that_makes_no_sense_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match="data=4,model=2"):
        parse_mesh(text)


def test_hosts_are_a_number_of_a_count_and_where_the_first_listens() -> None:
    assert parse_hosts("1/2@[::1]:80") == Hosts(index=1, count=2, host="[::1]", port=80)
    assert parse_hosts("auto") is None


@pytest.mark.parametrize("text", ["", "1", "2/2@localhost:1", "0/2", "0/2@localhost", "0/2@localhost:65536", "0/0@a:1"])
def test_hosts_that_make_no_sense_are_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match="host:port"):
        parse_hosts(text)
