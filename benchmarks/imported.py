"""Whether an imported model gives the embeddings of the program that it comes from, and how fast both are.

    ham import FILE --layout campplus --out DIR
    python benchmarks/imported.py --model DIR --corpora A B --out ours.npz
    OTHER/bin/python benchmarks/imported.py --peer FILE --corpora A B --compare ours.npz

The last command runs in an environment of its own that has the other program; this program need not be there. Fifty
recordings, evenly spread over the folders, are embedded whole, on one thread. It ends with 1 where a cosine is not
above 0.999999. ``--layout`` says whose file it is:

    campplus, eres2netv2
                        the package speakerlab (0.0.6)
    speechbrain_ecapa   the package speechbrain (1.1.2)
    wespeaker_ecapa, wespeaker_resnet34, taoruijie_ecapa
                        --code FOLDER: a clone of wenet-e2e/wespeaker or TaoRuijie/ECAPA-TDNN
                        --network NAME: wespeaker's name of the network, such as ECAPA_TDNN_c512
    redimnet2           --code FOLDER: a clone of PalabraAI/redimnet2

Where no weights are at hand, the other program makes a file of its layout, with random ones that saw the recordings:

    OTHER/bin/python benchmarks/imported.py --layout speechbrain_ecapa --make FILE --corpora A B
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from ham.errors import HamError

NUM_RECORDINGS, LEAST_COSINE = 50, 0.999999
SOUNDS = (".flac", ".wav")
TAORUIJIE, CLASSIFIERS = "speaker_encoder", ("speaker_loss.", "projection.")

Embed = Callable[[Path], Any]
Run = Callable[[torch.Tensor], torch.Tensor]
"""Samples (B, N) in [-1, 1] to embeddings (B, D)."""

Peer = tuple[torch.nn.Module, Run]


def ours(model: Path) -> Embed:
    """What this program makes of a recording with a model directory."""
    import ham

    return ham.load(model, "cpu").embed


def speakerlab(options: argparse.Namespace) -> Peer:
    """3D-Speaker's own program, fed as its extraction of embeddings feeds it."""
    from speakerlab.models.campplus.DTDNN import CAMPPlus
    from speakerlab.models.eres2net.ERes2NetV2 import ERes2NetV2
    from speakerlab.process.processor import FBank

    dim, features = options.dim or 192, FBank(80, 16000, mean_nor=True)
    network = CAMPPlus(80, dim) if options.layout == "campplus" else ERes2NetV2(feat_dim=80, embedding_size=dim)
    return network, lambda samples: network(torch.stack([features(row) for row in samples]))


def speechbrain(options: argparse.Namespace) -> Peer:
    """SpeechBrain's, with the settings of spkrec-ecapa-voxceleb."""
    from speechbrain.lobes.features import Fbank
    from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN
    from speechbrain.processing.features import InputNormalization

    network = ECAPA_TDNN(80, lin_neurons=options.dim or 192, channels=[1024] * 4 + [3072])
    fbank, normalise = Fbank(n_mels=80), InputNormalization(norm_type="sentence", std_norm=False)
    return network, lambda samples: network(normalise(fbank(samples), torch.ones(len(samples))))[:, 0]


def wespeaker(options: argparse.Namespace) -> Peer:
    """wespeaker's, fed as its command line feeds it; the package itself, which loads much more, is left out."""
    import torchaudio.compliance.kaldi as kaldi

    package = types.ModuleType("wespeaker")
    package.__path__ = [str(options.code / "wespeaker")]
    sys.modules["wespeaker"] = package
    residual = options.layout == "wespeaker_resnet34"
    module = importlib.import_module(f"wespeaker.models.{'resnet' if residual else 'ecapa_tdnn'}")
    name, dim = ("ResNet34", 256) if residual else ("ECAPA_TDNN_GLOB_c1024", 192)
    network = getattr(module, options.network or name)(80, embed_dim=options.dim or dim)

    def _fbank(samples: torch.Tensor) -> torch.Tensor:
        energies = kaldi.fbank(samples[None] * (1 << 15), num_mel_bins=80, window_type="hamming")
        return energies - energies.mean(0)

    return network, lambda samples: network(torch.stack([_fbank(row) for row in samples]))[-1]


def taoruijie(options: argparse.Namespace) -> Peer:
    """TaoRuijie's, within its trainer's names; the classifier is not needed."""
    sys.path.insert(0, str(options.code))
    encoder = importlib.import_module("model").ECAPA_TDNN(options.channels)
    return torch.nn.ModuleDict({TAORUIJIE: encoder}), lambda samples: encoder(samples, False)


def redimnet2(options: argparse.Namespace) -> Peer:
    """ReDimNet2's, of the sizes that its files hold; without, of those that its code has by default, b3."""
    sys.path.insert(0, str(options.code))
    usual = {"feat_type": "tf", "return_2d_output": True, "causal": "none", "spec_params": {"norm_signal": True}}
    state = torch.load(options.peer, weights_only=True) if options.peer else {}
    network = importlib.import_module("redimnet2.redimnet2").ReDimNet2Wrap(**state.get("model_config", usual))
    return network, network


PEERS: dict[str, Callable[[argparse.Namespace], Peer]] = {
    "campplus": speakerlab,
    "speechbrain_ecapa": speechbrain,
    "wespeaker_ecapa": wespeaker,
    "wespeaker_resnet34": wespeaker,
    "taoruijie_ecapa": taoruijie,
    "eres2netv2": speakerlab,
    "redimnet2": redimnet2,
}
"""The other program of each layout."""


def samples_of(path: Path) -> torch.Tensor:
    """A recording of 16 kHz, shape (N,)."""
    import soundfile

    return torch.from_numpy(soundfile.read(path, dtype="float32")[0])


def theirs(options: argparse.Namespace) -> Embed:
    """What the other program makes of a recording."""
    state = torch.load(options.peer, weights_only=True)
    state = state.get("state_dict", state)
    network, run = PEERS[options.layout](options)
    try:
        network.load_state_dict({name: value for name, value in state.items() if not name.startswith(CLASSIFIERS)})
    except RuntimeError as error:
        expected, reason = f"expected weights of --layout {options.layout}", " ".join(str(error).split())
        raise HamError(f"{options.peer}: {expected}, found others ({reason})") from None
    network.eval()

    def _embed(path: Path) -> Any:
        with torch.inference_mode():
            return run(samples_of(path)[None])[0].numpy()

    return _embed


def make(options: argparse.Namespace, paths: list[Path]) -> None:
    """Write a file of the other program's network: weights drawn, batch normalisations that saw the recordings."""
    torch.manual_seed(0)
    network, run = PEERS[options.layout](options)
    for module in network.modules():
        if getattr(module, "running_mean", None) is not None and module.affine:
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, std=0.1)
    crops = [samples_of(path)[:32000] for path in paths]
    batch = torch.stack([crop for crop in crops if len(crop) == 32000][:16])
    with torch.no_grad():
        for _ in range(20):
            run(batch)
    extra = {"speaker_loss.weight": torch.randn(1211, 192)} if options.layout == "taoruijie_ecapa" else {}
    torch.save({**network.state_dict(), **extra}, options.make)


def seconds_of(path: Path) -> float:
    """How long a recording is."""
    import soundfile

    return float(soundfile.info(path).duration)


def measure(options: argparse.Namespace, chosen: list[Path]) -> int:
    """Embed, and compare where there is something to compare with."""
    if options.make:
        make(options, chosen)
        return 0
    embed = ours(options.model) if options.model else theirs(options)
    embed(chosen[0])
    start = time.process_time()
    rows = np.stack([np.asarray(embed(path), np.float64) for path in chosen])
    took, speech = time.process_time() - start, sum(map(seconds_of, chosen))
    print(f"{len(chosen)} recordings, {speech:.0f} s of speech, {took / speech:.4f} s of processor time a second")
    if options.out:
        np.savez(options.out, rows=rows)
    if not options.compare:
        return 0
    others = np.load(options.compare)["rows"]
    cosines = (rows * others).sum(1) / np.linalg.norm(rows, axis=1) / np.linalg.norm(others, axis=1)
    print(f"lowest cosine of {len(cosines)}: {cosines.min():.9f}, median {np.median(cosines):.9f}")
    scale = np.sqrt((others**2).mean())
    print(f"largest difference of a number: {np.abs(rows - others).max() / scale:.1e} of their root mean square")
    return int(not cosines.min() > LEAST_COSINE)


def main() -> int:
    """Do what the arguments say; what is missing is a line on standard error."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--model", type=Path, help="a model directory, embedded by this program")
    what.add_argument("--peer", type=Path, help="the file it was made of, embedded by the program it comes from")
    what.add_argument("--make", type=Path, help="write a file of the layout, by the other program, and end")
    parser.add_argument("--layout", choices=PEERS, default="campplus", help="which program that is")
    parser.add_argument("--code", type=Path, default=Path(), help="a clone of its repository, where it is no package")
    parser.add_argument("--network", help="wespeaker's name of the network")
    parser.add_argument("--channels", type=int, default=1024, help="of TaoRuijie's network")
    parser.add_argument("--dim", type=int, help="of the embeddings, where it is not the usual one")
    parser.add_argument("--corpora", type=Path, nargs="+", required=True, help="folders of speech")
    parser.add_argument("--out", type=Path, help="where to write the embeddings")
    parser.add_argument("--compare", type=Path, help="embeddings that --out wrote before")
    options = parser.parse_args()
    torch.set_num_threads(1)
    paths = sorted(path for folder in options.corpora for path in folder.rglob("*") if path.suffix in SOUNDS)
    if not paths:
        parser.error(f"--corpora: expected folders with recordings, found none below {options.corpora[0]}")
    chosen = [paths[i] for i in np.linspace(0, len(paths) - 1, NUM_RECORDINGS).round().astype(int)]
    try:
        return measure(options, chosen)
    except ModuleNotFoundError as error:
        parser.error(f"--layout {options.layout}: found no module {error.name}; --help says what it needs, and --code")
    except (HamError, OSError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return getattr(error, "exit_status", 1)


if __name__ == "__main__":
    sys.exit(main())
