"""Speech from the C library espeak-ng, which the Python package ``espeakng-loader`` brings with its data.

The library keeps its state in static variables (the position in its flutter table, the phase, the automatic gain), so
that what it says depends on everything it has said before. A :class:`Synthesiser` therefore loads a *copy* of the
library of its own: a file of another name is another instance, with fresh state. Copying and initialising
takes about 3 ms; the library's random numbers have a seed of their own (:meth:`Synthesiser.speak`).
"""

from __future__ import annotations

import _ctypes
import ctypes
import shutil
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from ham.errors import HamError

SAMPLE_RATE = 22050
"""Hz; what espeak-ng's own synthesiser produces."""

DATA_NAME = "espeak-ng-data"
SHARED = ("en_dict", "intonations", "phondata", "phonindex", "phontab")
"""The entries of the data folder that English needs, beside its language file and a voice."""

VARIANT = "voice"

MAX_HOME = 120
"""Bytes of the path of the data folder's parent: espeak-ng copies it into 160 bytes and adds names of its own."""

SYNCHRONOUS, DONT_EXIT = 2, 0x8000  # espeak_AUDIO_OUTPUT and an option of espeak_Initialize, both of speak_lib.h
RATE, VOLUME = 1, 2  # espeak_PARAMETER of speak_lib.h
UTF8, CHARACTERS = 1, 1

VOLUME_PERCENT = 60
"""Below espeak's normal 100, because its automatic gain distorts what would be clipped."""

CURE = "reinstall it: pip install --force-reinstall espeakng-loader (see requirements.txt)"

_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_int16), ctypes.c_int, ctypes.c_void_p)


def installed() -> tuple[Path, Path]:
    """Find espeak-ng where ``espeakng-loader`` has put it.

    Returns:
        The library and the data folder.

    Raises:
        HamError: the package or one of its files is missing.
    """
    try:
        import espeakng_loader
    except ImportError as error:
        raise HamError(f"espeak-ng: expected the package espeakng-loader, found '{error}'; {CURE}") from error
    library = Path(espeakng_loader.get_library_path())
    data = library.parent / DATA_NAME
    for path in (library, *(data / name for name in SHARED)):
        if not path.exists():
            raise HamError(f"espeak-ng: expected {path}, found nothing; {CURE}")
    return library, data


def _prepare(home: Path, data: Path, language_file: str, voice_text: str) -> None:
    """Lay out a data folder in ``home``: links to the installed one, one language file, one voice."""
    if len(bytes(home)) > MAX_HOME:
        raise HamError(
            f"{home}: expected a path of at most {MAX_HOME} bytes for espeak-ng, found {len(bytes(home))}; "
            "set TMPDIR to a shorter one, such as /tmp"
        )
    for name in (*SHARED, f"lang/{language_file}"):
        link = home / DATA_NAME / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(data / name)
    voices = home / DATA_NAME / "voices" / "!v"
    voices.mkdir(parents=True)
    (voices / VARIANT).write_text(f"language variant\nname {VARIANT}\n{voice_text}", encoding="utf-8")


def _load(library: Path, home: Path) -> ctypes.CDLL:
    """Load a copy of ``library``: another file, hence another instance."""
    try:
        return ctypes.CDLL(str(shutil.copy(library, home / "espeak.so")))
    except OSError as error:
        raise HamError(f"espeak-ng: {library} cannot be loaded: {error}; {CURE}") from error


class Synthesiser:
    """An instance of espeak-ng of its own with one voice, to be used in a ``with`` statement.

    Equal calls in equal order give equal samples, whatever other instances have done. The instance speaks from a
    temporary folder, because a voice can only come from the data folder, and the installed one is not ours to change;
    it holds the one voice and the one language file that are needed, for espeak-ng reads every file it finds there.
    """

    def __init__(self, language_file: str, voice_text: str) -> None:
        """Remember who speaks; nothing is loaded yet.

        Args:
            language_file: an entry of the data folder's ``lang``, such as ``gmw/en-US``.
            voice_text: the lines of a voice variant file, without ``language`` and ``name``.
        """
        self._language_file, self._voice_text = language_file, voice_text
        self._chunks: list[NDArray[np.int16]] = []
        self._callback = _CALLBACK(self._collect)
        self._resources = ExitStack()

    def __enter__(self) -> Synthesiser:
        """Load a fresh copy of the library, initialise it and set the voice.

        Raises:
            HamError: espeak-ng is missing or damaged, or the temporary folder's path is too long for it.
        """
        with ExitStack() as stack:
            home = Path(stack.enter_context(TemporaryDirectory(prefix="mini-")))
            library, data = installed()
            _prepare(home, data, self._language_file, self._voice_text)
            self._library = _load(library, home)
            stack.callback(_ctypes.dlclose, self._library._handle)
            self._initialise(home)
            stack.callback(self._library.espeak_Terminate)
            self._resources = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Free the library's memory, unload the copy and remove the temporary folder."""
        self._resources.close()

    def _initialise(self, home: Path) -> None:
        self._library.espeak_ng_SetRandSeed.argtypes = [ctypes.c_long]
        rate = self._library.espeak_Initialize(SYNCHRONOUS, 0, bytes(home), DONT_EXIT)
        if rate != SAMPLE_RATE:
            raise HamError(f"espeak-ng: expected a sample rate of {SAMPLE_RATE} Hz, found {rate}; {CURE}")
        self._library.espeak_SetSynthCallback(self._callback)
        voice = f"{self._language_file}+{VARIANT}"
        if self._library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise HamError(f"espeak-ng: expected to find the voice {voice} in its data; {CURE}")

    def _collect(self, samples: ctypes._Pointer[ctypes.c_int16], count: int, _events: int | None) -> int:
        if count > 0:
            self._chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    def speak(self, text: str, *, rate_wpm: int, seed: int) -> NDArray[np.float32]:
        """Say ``text``.

        Args:
            text: English words.
            rate_wpm: words a minute, 80 to 450.
            seed: of the library's random numbers (breath noise), 1 to 2**31 - 1.

        Returns:
            Samples in -1..1 at :data:`SAMPLE_RATE`, shape ``(N,)``.

        Raises:
            HamError: the library has failed.
        """
        self._library.espeak_SetParameter(RATE, rate_wpm, 0)
        self._library.espeak_SetParameter(VOLUME, VOLUME_PERCENT, 0)
        self._library.espeak_ng_SetRandSeed(seed)
        self._chunks.clear()
        line = text.encode()
        if self._library.espeak_Synth(line, len(line) + 1, 0, CHARACTERS, 0, UTF8, None, None) != 0:
            raise HamError(f"espeak-ng: expected speech for '{text}', found an error; {CURE}")
        return np.concatenate([np.zeros(0, np.int16), *self._chunks]).astype(np.float32) / np.float32(32768)
