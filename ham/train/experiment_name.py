"""The name of an experiment, which is that of its folder in ``exp/``."""

from __future__ import annotations

from ham.errors import ConfigError
from ham.words import quote

MOST_BYTES = 100
"""Of a name: file systems allow 255, and temporary names and suffixes come on top."""

FINETUNED = "_lm"
"""End of the name of a large-margin fine-tuning (stage 8), after that of the experiment that it goes on from."""


def default_name(config: str, loss: str, seed: int) -> str:
    """Name an experiment that has no other name.

    Args:
        config: its configuration, a file of ``conf/`` without its ending.
        loss: its loss, or what else sets it apart.
        seed: its seed.

    Returns:
        ``<config>_<loss>``, with ``_seed<N>`` for another seed than 1.
    """
    return f"{config}_{loss}" + ("" if seed == 1 else f"_seed{seed}")


def check_name(name: str) -> str:
    """Check that a name is one of a folder in ``exp/``, which no command takes for an option or a path.

    Args:
        name: the name asked for.

    Returns:
        The same.

    Raises:
        ConfigError: if it is empty, too long, begins with anything but a letter, digit or ``_``, or holds a slash or
            a character that cannot be seen.
    """
    if name and (name[0].isalnum() or name[0] == "_") and "/" not in name and name.isprintable():
        if len(name.encode()) <= MOST_BYTES:
            return name
        found = f"{len(name.encode())}: {quote(name)}"
        raise ConfigError(f"--exp_name: expected at most {MOST_BYTES} bytes, found {found}")
    raise ConfigError(
        f"--exp_name: expected the name of a folder, a letter, a digit or _ first and no slash, found {quote(name)}; "
        "--exp_root says where the folder lies"
    )
