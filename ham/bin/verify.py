"""Are two recordings of one speaker? Exit status 0: same, 1: different, 2: wrong request, 3: cannot say."""

from __future__ import annotations

from collections.abc import Sequence

from ham.bin._use_options import SOUNDS, add_model, answer, load_model
from ham.cli import Parser
from ham.errors import ConfigError
from ham.model.verification import Verification

STATUS = {"same": 0, "different": 1, "cannot_say": 3}


def main(argv: Sequence[str]) -> int:
    """Verify.

    Args:
        argv: the arguments without the command's name.

    Returns:
        The exit status.
    """
    options = _parser().parse_args(argv)
    *enrolled, tested = options.files
    if not enrolled:
        raise ConfigError("ham verify: expected two files or more, found one; the last is compared with the others")
    if options.files.count("-") > 1:
        raise ConfigError("ham verify: expected - once, since standard input can be read only once")
    found = load_model(options).verify(enrolled, tested, options.threshold, vad=options.vad)
    answer(options, found.to_dict(), in_words(found))
    return STATUS[found.decision]


def in_words(found: Verification) -> str:
    """The answer for people: the decision, the numbers, and what is wrong with the speech."""
    score = "none" if found.score is None else f"{found.score:.3f}"
    threshold = "none" if found.threshold is None else f"{found.threshold:.3f}"
    lines = [found.decision.replace("_", " "), f"score {score}, threshold {threshold} ({found.threshold_from})"]
    if found.llr is not None:
        lines.append(f"log-likelihood ratio {found.llr:.2f}")
    for side, quality in found.quality.items():
        whose = {"a": "first", "b": "last"}[side]
        lines += [f"{whose} recording: {problem.text}" for problem in quality.problems]
    return "\n".join(lines)


def _parser() -> Parser:
    parser = Parser(prog="ham verify", description=__doc__)
    parser.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help=f"one recording or several of a speaker, then the one to compare with them ({SOUNDS})",
    )
    add_model(parser)
    parser.add_argument(
        "--threshold",
        help="a cosine from -1 to 1, or an operating point of the model: eer (the default), min_dcf_p01, min_dcf_p05, "
        "far_1, far_0_1, far_0_01 (false-alarm rates of 1, 0.1, 0.01 %%)",
    )
    parser.add_argument("--vad", action="store_true", help="measure how much is speech with silero-vad")
    return parser
