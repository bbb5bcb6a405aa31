"""Server-sent events, byte by byte: what stands after `data:`, whatever the network cut it into."""

__all__ = ["EventReader"]

_MOST_EVENT_BYTES = 4 * 2**20


class EventReader:
    """Collects the events of one stream (WHATWG HTML, section 9.2.6); comments and other fields are passed over."""

    def __init__(self, most_event_bytes: int = _MOST_EVENT_BYTES) -> None:
        self._most = most_event_bytes
        self._line = bytearray()  # begun, its end not yet come
        self._data: list[bytes] = []  # of the event that is under way
        self._held = 0  # bytes in `_data`
        self._after_return = False  # a line feed that comes now belongs to the carriage return before it
        self._is_first = True

    def feed(self, piece: bytes) -> list[str]:
        """The events that this piece completes. Raises ValueError for one that is too long or no UTF-8."""
        events: list[str] = []
        if self._after_return and piece.startswith(b"\n"):
            piece = piece[1:]
            self._after_return = False
        if not piece:
            return events
        self._after_return = piece.endswith(b"\r")
        lines = piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        for part in lines[:-1]:
            self._extend(part)
            event = self._end_line()
            if event is not None:
                events.append(event)
        self._extend(lines[-1])
        return events

    def rest(self) -> str | None:
        """What a stream that ended without its last empty line had still to say."""
        self._end_line()
        return self._dispatch()

    def _extend(self, part: bytes) -> None:
        self._line += part
        if len(self._line) + self._held > self._most:
            raise ValueError(f"an event of more than {self._most} bytes")

    def _end_line(self) -> str | None:
        line, self._line = bytes(self._line), bytearray()
        if self._is_first:
            self._is_first = False
            line = line.removeprefix(b"\xef\xbb\xbf")
        if not line:
            return self._dispatch()
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value.removeprefix(b" "))
            self._held += len(value)
        return None

    def _dispatch(self) -> str | None:
        if not self._data:
            return None
        data, self._data, self._held = self._data, [], 0
        return b"\n".join(data).decode("utf-8")
