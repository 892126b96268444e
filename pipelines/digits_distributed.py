"""Training by several ranks as one task: data is prepared, two ranks train with checkpoints, the model is judged on
digits that it has not seen, and registered if it is good.

The ranks need nothing but numpy: they add up their gradients over a socket of rank 0, as frameworks do by libraries of
their own. Whatever the number of ranks, each step takes the same batch, so the model is the same.

Data: scikit-learn's digits (1797 images of 8 x 8 pixels).
"""

import json
import os
import socket
import struct
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

import mlplatform as ml
from mlplatform import dsl, training


class Data(NamedTuple):
    train: np.ndarray
    test: np.ndarray


class Ring:
    """Ranks that add up arrays: all send theirs to rank 0, which sends the sum back. They meet at an address that rank
    0 leaves in the folder they share."""

    def __init__(self, me: training.Rank) -> None:
        self.first = me.first
        self.peers: list[socket.socket] = []
        if me.world_size == 1:
            return
        meeting = me.checkpoints / f"meet-{me.attempt}.json"
        if not me.first:
            self.peers = [self._join(meeting)]
            return
        in_pod = "KUBERNETES_SERVICE_HOST" in os.environ
        host = socket.gethostbyname(socket.gethostname()) if in_pod else "127.0.0.1"
        with socket.create_server((host, 0)) as server:
            meeting.parent.mkdir(parents=True, exist_ok=True)
            meeting.with_suffix(".new").write_text(json.dumps([host, server.getsockname()[1]]))
            meeting.with_suffix(".new").replace(meeting)
            self.peers = [server.accept()[0] for _ in range(me.world_size - 1)]
        meeting.unlink()

    def _join(self, meeting: Path) -> socket.socket:
        """What an earlier attempt left there leads nowhere: ask again."""
        end = time.monotonic() + 120
        while True:
            try:
                host, port = json.loads(meeting.read_text())
                return socket.create_connection((host, port), timeout=60)
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.02)

    def sum(self, array: np.ndarray) -> np.ndarray:
        """The sum of all ranks' arrays, in float64."""
        if not self.peers:
            return array
        if not self.first:
            self._send(self.peers[0], array)
            return self._receive(self.peers[0], array.shape)
        for peer in self.peers:
            array = array + self._receive(peer, array.shape)
        for peer in self.peers:
            self._send(peer, array)
        return array

    def _send(self, peer: socket.socket, array: np.ndarray) -> None:
        data = np.ascontiguousarray(array, dtype="<f8").tobytes()
        peer.sendall(struct.pack("<q", len(data)) + data)

    def _receive(self, peer: socket.socket, shape: tuple[int, ...]) -> np.ndarray:
        size = struct.unpack("<q", self._exactly(peer, 8))[0]
        return np.frombuffer(self._exactly(peer, size), dtype="<f8").reshape(shape)

    def _exactly(self, peer: socket.socket, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = peer.recv(size - len(data))
            if not more:
                raise ConnectionError("a rank is gone")
            data += more
        return data


def chances(weights: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """How likely each image shows each digit."""
    scores = pixels @ weights
    scores = np.exp(scores - scores.max(axis=1, keepdims=True))
    return scores / scores.sum(axis=1, keepdims=True)


@ml.component
def prepare(share: float, seed: int) -> Data:
    """Rows of 64 pixels, a constant, and the digit."""
    from sklearn.datasets import load_digits

    pixels, digits = load_digits(return_X_y=True)
    rows = np.column_stack([pixels / 16.0, np.ones(len(pixels)), digits])
    rows = rows[np.random.default_rng(seed).permutation(len(rows))]
    cut = int(len(rows) * share)
    return Data(rows[:cut], rows[cut:])


@ml.training(workers=2, max_restarts=2, grace=20, spec={"failurePolicy": {"backoffSeconds": 1}})
def train(data: np.ndarray, epochs: int, batch: int, rate: float) -> np.ndarray:
    """Logistic regression by gradients: every rank takes its share of each batch."""
    me = training.init()
    ring = Ring(me)
    weights, begin = np.zeros((data.shape[1] - 1, 10)), 0
    last = training.resume_from()
    if last is not None:
        weights, begin = np.load(last / "weights.npy"), last.step + 1
    per_epoch = len(data) // batch
    print(f"rank {me.rank} of {me.world_size}: attempt {me.attempt}, from step {begin}")
    for step in range(begin, epochs * per_epoch):
        epoch, place = divmod(step, per_epoch)
        order = np.random.default_rng(epoch).permutation(len(data))
        mine = data[order[place * batch : (place + 1) * batch]][me.rank :: me.world_size]
        found = chances(weights, mine[:, :-1])
        hot = np.eye(10)[mine[:, -1].astype(int)]
        loss = -np.log((found * hot).sum(axis=1)).sum()
        sums = ring.sum(np.append((mine[:, :-1].T @ (found - hot)).ravel(), loss)) / batch
        weights = weights - rate * sums[:-1].reshape(weights.shape)
        training.report(step, {"loss": float(sums[-1])}, total=epochs * per_epoch)
        if me.first and training.due(step, every=per_epoch):
            with training.checkpoint(step) as folder:
                np.save(folder / "weights.npy", weights)
    return weights


@ml.component
def evaluate(weights: np.ndarray, data: np.ndarray, metrics: dsl.Output[dsl.Metrics]) -> float:
    """The share of unseen digits that are read correctly."""
    read = chances(weights, data[:, :-1]).argmax(axis=1)
    accuracy = round(float((read == data[:, -1]).mean()), 4)
    metrics.log_metric("accuracy", accuracy)
    return accuracy


@ml.component
def register(weights: np.ndarray, accuracy: float, name: str, model: dsl.Output[dsl.Model]) -> str:
    """Put the model into the registry."""
    np.save(model.path + ".npy", weights)
    os.replace(model.path + ".npy", model.path)
    model.metadata["registered_model_name"] = name
    model.metadata["accuracy"] = accuracy
    return f"{name}: {accuracy:.1%} of the digits that it had not seen"


@ml.pipeline(name="digits-distributed")
def digits(
    epochs: int = 15,
    batch: int = 120,
    rate: float = 0.5,
    share: float = 0.8,
    seed: int = 0,
    threshold: float = 0.9,
    registered_name: str = "digits-distributed",
):
    """Which digit is it? Learned by two ranks."""
    data = prepare(share, seed)
    weights = train(data.train, epochs, batch, rate)
    accuracy = evaluate(weights, data.test).outputs["Output"]
    with dsl.If(accuracy > threshold):
        register(weights, accuracy, registered_name)
    return accuracy
