"""How alike two speakers sound, with onnxruntime, numpy and soundfile alone: onnx_consumer.py MODEL ONE OTHER."""

import sys

import numpy as np
import onnxruntime
import soundfile


def embed(session: onnxruntime.InferenceSession, path: str) -> np.ndarray:
    """The embedding of a recording, its length made 1."""
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    expected = int(session.get_modelmeta().custom_metadata_map["sample_rate"])
    if rate != expected:
        sys.exit(f"{path}: expected {expected} Hz, found {rate}; convert it first")
    (embeddings,) = session.run(None, {"samples": samples.mean(axis=1)[None]})
    return embeddings[0] / np.linalg.norm(embeddings[0])


if __name__ == "__main__":
    model = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
    print(f"{embed(model, sys.argv[2]) @ embed(model, sys.argv[3]):.6f}")
