"""Several processes that work as one: they find each other before JAX joins them.

JAX would wait in silence, deaf to Ctrl-C, and abort the whole process when one does not come. So they meet first:
number 0 listens where JAX will, each other one tells its number, and all go on once all are there.
"""

import logging
import re
import socket
import time
from contextlib import ExitStack, suppress

from lite.devices import Hosts
from lite.errors import BackendError

__all__ = ["join_hosts", "meet"]

_log = logging.getLogger(__name__)

_LONGEST_WAIT = 300.0  # seconds, for each other
_REST, _LONGEST_HELLO = 0.2, 2.0  # seconds between two tries; for a line from whoever has connected
_GO = "go"


def join_hosts(hosts: Hosts | None) -> None:
    """Make this process one of several, before anything else of JAX is used; None where the cluster tells.

    Raises BackendError where they do not find each other.
    """
    import jax

    if hosts is None:
        _log.warning("waiting for the cluster's other processes, for %.0f s at most", _LONGEST_WAIT)
    else:
        meet(hosts)
    address, count, index = (None, None, None) if hosts is None else (hosts.address, hosts.count, hosts.index)
    try:
        jax.distributed.initialize(address, count, index, initialization_timeout=int(_LONGEST_WAIT))
    except (RuntimeError, ValueError) as error:
        raise BackendError(f"the hosts did not find each other: {' '.join(str(error).split())[:300]}") from error


def meet(hosts: Hosts, seconds: float = _LONGEST_WAIT) -> None:
    """Wait until all are there. Raises BackendError where one is missing after so many seconds, or is refused."""
    if hosts.count == 1:
        return
    whom = "number 0" if hosts.index else f"{hosts.count - 1} more"
    _log.warning(
        "number %d of %d: waiting for %s at %s, for %.0f s at most",
        hosts.index,
        hosts.count,
        whom,
        hosts.address,
        seconds,
    )
    deadline = time.monotonic() + seconds
    if hosts.index:
        _find_first(hosts, deadline)
    else:
        _gather_others(hosts, deadline)


def _gather_others(hosts: Hosts, deadline: float) -> None:
    guests: dict[int, socket.socket] = {}
    with ExitStack() as opened:
        listener = opened.enter_context(_listening(hosts))
        while missing := set(range(1, hosts.count)) - _alive(guests):
            guest = _accepted(listener, deadline)
            if guest is None:
                numbers = ", ".join(map(str, sorted(missing)))
                raise BackendError(f"of {hosts.count} processes these did not come to {hosts.address}: {numbers}")
            opened.enter_context(guest)
            number = _number(guest, hosts)
            if number in guests:
                _tell(guests[number], f"another process has come as number {number}")
                guests[number].close()
            if number:
                guests[number] = guest
            else:
                guest.close()
        for guest in guests.values():
            _tell(guest, _GO)
        for guest in guests.values():  # who hangs up first keeps its port for a while: theirs, as JAX needs ours
            _line(guest, _LONGEST_HELLO)


def _alive(guests: dict[int, socket.socket]) -> set[int]:
    """The numbers of those that have not hung up."""
    return {number for number, guest in guests.items() if not _has_hung_up(guest)}


def _has_hung_up(guest: socket.socket) -> bool:
    guest.setblocking(False)
    try:
        return guest.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def _listening(hosts: Hosts) -> socket.socket:
    """At every address of this machine, as JAX does."""
    family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
    try:
        return socket.create_server(
            ("", hosts.port), family=family, dualstack_ipv6=family == socket.AF_INET6, backlog=hosts.count
        )
    except OSError as error:
        raise BackendError(f"cannot listen at port {hosts.port}: {error.strerror or error}") from error


def _accepted(listener: socket.socket, deadline: float) -> socket.socket | None:
    """Whoever comes next; None when time is up."""
    while (left := deadline - time.monotonic()) > 0:
        listener.settimeout(min(left, _REST))  # short, so that Ctrl-C is heard everywhere
        try:
            return listener.accept()[0]
        except TimeoutError:
            continue
        except OSError:  # it was gone before it was let in
            time.sleep(min(left, _REST))
    return None


def _number(guest: socket.socket, hosts: Hosts) -> int:
    """As which a guest comes; 0 for one that does not belong here, which is told so."""
    match = re.fullmatch(r"lite (\d+)/(\d+)", _line(guest, _LONGEST_HELLO))
    if match is None:
        _tell(guest, "this is lite, waiting for processes of its own")
    elif int(match[2]) != hosts.count:
        _tell(guest, f"number 0 waits for {hosts.count} processes in all, not {match[2]}")
    elif 0 < int(match[1]) < hosts.count:
        return int(match[1])
    return 0


def _find_first(hosts: Hosts, deadline: float) -> None:
    with _connected(hosts, deadline) as connection:
        _tell(connection, f"lite {hosts.index}/{hosts.count}")
        answer = _line(connection, deadline - time.monotonic())
    if answer != _GO:
        told = answer or "it hung up, or not all have come in time"
        raise BackendError(f"{hosts.address} did not let this process in as number {hosts.index}: {told}")


def _connected(hosts: Hosts, deadline: float) -> socket.socket:
    reason = "time is up"
    while (left := deadline - time.monotonic()) > 0:
        try:
            return socket.create_connection((hosts.host.strip("[]"), hosts.port), timeout=left)
        except UnicodeError:
            raise BackendError(f"{hosts.host!r} is no host's name") from None
        except OSError as error:
            reason = error.strerror or str(error)
            time.sleep(min(left, _REST))
    raise BackendError(f"number 0 did not come to {hosts.address}: {reason}")


def _line(connection: socket.socket, seconds: float) -> str:
    """What the other end says in a line; "" where it says nothing in time."""
    deadline, said = time.monotonic() + seconds, b""
    while not said.endswith(b"\n") and len(said) < 200 and (left := deadline - time.monotonic()) > 0:
        connection.settimeout(min(left, _REST))
        try:
            part = connection.recv(200)
        except TimeoutError:
            continue
        except OSError:
            return ""
        if not part:
            return ""
        said += part
    return said.decode("ascii", "replace").strip()


def _tell(connection: socket.socket, line: str) -> None:
    with suppress(OSError):  # it is gone: whoever waits for it will learn so
        connection.sendall(f"{line}\n".encode("ascii"))
