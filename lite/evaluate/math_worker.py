"""The process behind `checking.MathWorker`: reads [value, answer] a line, writes true or false a line."""

import json
import sys

__all__ = ["main"]


def main() -> None:
    """Answer until standard input ends. What math-verify itself prints goes nowhere."""
    from math_verify import parse, verify

    out, sys.stdout = sys.stdout, sys.stderr

    def same(value: str, answer: str) -> bool:
        sides = [parse(f"${text}$", parsing_timeout=None) for text in (answer, value)]
        return all(sides) and bool(verify(*sides, timeout_seconds=None))

    print("ready", file=out, flush=True)
    for line in sys.stdin:
        try:
            found = same(*json.loads(line))
        except Exception:  # noqa: BLE001  # whatever it stumbles over, the two are not known to be equal
            found = False
        print("true" if found else "false", file=out, flush=True)


if __name__ == "__main__":
    main()
