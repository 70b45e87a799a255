"""``python -m ham COMMAND``: the commands of :mod:`ham.bin.front`."""

from __future__ import annotations

from ham.bin.front import start

if __name__ == "__main__":
    raise SystemExit(start())
