"""Other people's generators of time series, trained as their authors set them until a clock ends, and their samples.

    PYTHON benchmarks/series_adapters.py PEER PEERS_DIR FOLDER SECONDS SEED

`series_peers.py` starts it, with a Python that need not have saddlepoint. FOLDER holds ``windows.npy``, float32
(rows, steps, features) in [0, 1]; it gets ``trained.pt`` and ``training.json`` when training ends, a file for each 500
samples as they are drawn, and ``samples.npy``: as many as rows, 10,000 at most, clipped to [0, 1]. A training that is
stopped starts again; a drawing goes on.

Nothing of theirs is kept here. Diffusion-TS and TimeVAE lie in PEERS_DIR, the others are packages:

    git clone https://github.com/Y-debug-sys/Diffusion-TS PEERS_DIR/Diffusion-TS
    git clone https://github.com/abudesai/timeVAE PEERS_DIR/timeVAE
    python3 -m venv VENV
    VENV/bin/pip install torch numpy scipy pandas pyyaml tqdm einops ema-pytorch==0.2.1 tensorflow-cpu joblib \
        category-encoders deepecho==0.8.1
    VENV/bin/pip install --no-deps gretel-synthetics==0.22.20

(gretel-synthetics asks for a numpy of 2022; its DGAN needs none of what else it asks for.)

What all of them deviate in: one thread of a CPU in float32; the clock ends the training instead of a number of epochs;
windows are ours, in the scale of the data set, [0, 1]. The clock is processor time of their training loop, with their
minibatches; reading and encoding of data, and building of networks, come before it.

- **Diffusion-TS** (Yuan and Qiao 2024): their `Trainer` with `Config/stocks.yaml` and `Config/etth.yaml`: networks,
  losses, warm-up and plateau of the learning rate, two accumulated minibatches, average of weights. Samples are of the
  average, as there. Theirs ends after 10,000 (stocks) and 18,000 updates. Reduced: 100 steps of DDIM instead of 500 of
  DDPM, five times the work of drawing; it is their `fast_sample`, which their `eeg.yaml` takes with 100 of 500. One row
  draws all 500.
- **TimeVAE** (Desai et al. 2021): `TimeVAE` of the repository with its `hyperparameters.yaml`, its scaler, its
  `fit_on_data` with its callbacks (which watch a figure that is never reported, so that neither ever acts). Theirs
  keeps a tenth of the rows out, which it uses for nothing; here all are trained on. Weights begin by our seed instead
  of 123. TensorFlow is 2.21, not 2.16. Theirs ends after 1,000 epochs.
- **DGAN** (Lin et al. 2020, by Gretel): the settings of `examples/timeseries_dgan.ipynb`, the authors' own for windows
  cut out of one table; ``sample_len`` 2 instead of 12, so that the LSTM makes 12 steps as there. Theirs ends after
  10,000 epochs. Its gradient penalty is as it is (`findings/a-penalty-of-the-whole-minibatch.sh`).
- **PAR** (Zhang et al. 2022, `deepecho`): `PARModel` with its defaults; every update takes all windows, as there.
  Its loss goes over windows one after another in Python; here it is asked once for all windows behind one another,
  which is the same sum. Theirs ends after 128 epochs.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from series_foreign import Clock, Peer, drawn, trained
from torch import Tensor

FOREVER = 10**9


class DiffusionTS(Peer):
    """`engine/solver.py`, `Models/interpretable_diffusion`, `Config/*.yaml`."""

    STEPS: ClassVar[int] = 100
    reduced = "100 steps of DDIM instead of 500 of DDPM"

    def __init__(self, root: Path, x: np.ndarray, seed: int) -> None:
        super().__init__(root, x, seed)
        folder = root / "Diffusion-TS"
        sys.path.insert(0, str(folder))
        solver, tools = importlib.import_module("engine.solver"), importlib.import_module("Utils.io_utils")
        self.scales = importlib.import_module("Models.interpretable_diffusion.model_utils")
        # stocks have six features, ETTh1 seven: each has a file of its own.
        name = {6: "stocks", 7: "etth"}[x.shape[2]]
        config = tools.load_yaml_config(folder / "Config" / f"{name}.yaml")
        config["model"]["params"]["sampling_timesteps"] = self.STEPS
        self.batch = config["dataloader"]["batch_size"]
        rows = self.scales.normalize_to_neg_one_to_one(torch.from_numpy(x))
        loader = torch.utils.data.DataLoader(rows, self.batch, shuffle=True, drop_last=True)
        model = tools.instantiate_from_config(config["model"])
        # The trainer makes a folder for checkpoints, of which there are none.
        with tempfile.TemporaryDirectory() as unused:
            config["solver"].update(max_epochs=FOREVER, save_cycle=FOREVER, results_folder=f"{unused}/none")
            self.trainer = solver.Trainer(config, None, model, {"dataloader": loader})

    def train(self, clock: Clock) -> None:
        trainer, windows = self.trainer, self.batch * self.trainer.gradient_accumulate_every
        losses: list[float] = []
        scheduled, averaged = trainer.sch.step, trainer.ema.update

        def step(loss: float) -> None:
            losses.append(loss)
            scheduled(loss)

        def update() -> None:
            averaged()
            clock.tick(windows, losses.pop())

        trainer.sch.step, trainer.ema.update = step, update
        clock.start()
        trainer.train()

    def draw(self, n: int) -> np.ndarray:
        drawn = self.trainer.ema.ema_model.generate_mts(batch_size=n)
        return np.asarray(self.scales.unnormalize_to_zero_to_one(drawn))

    def state(self) -> Any:
        return self.trainer.ema.ema_model.state_dict()

    def restore(self, state: Any) -> None:
        self.trainer.ema.ema_model.load_state_dict(state)

    @property
    def parameters(self) -> int:
        return sum(p.numel() for p in self.trainer.model.parameters())

    @property
    def version(self) -> str:
        return self.commit("Diffusion-TS")


class DiffusionTS500(DiffusionTS):
    """The same with all steps, to see what fewer cost."""

    STEPS = 500
    reduced = ""


class TimeVAE(Peer):
    """`src/vae/timevae.py`, `src/data_utils.py`, `src/config/hyperparameters.yaml`."""

    tf: Any = None

    def __init__(self, root: Path, x: np.ndarray, seed: int) -> None:
        super().__init__(root, x, seed)
        folder = root / "timeVAE" / "src"
        sys.path.insert(0, str(folder))
        self.tf = importlib.import_module("tensorflow")
        self.tf.config.threading.set_intra_op_parallelism_threads(1)
        self.tf.config.threading.set_inter_op_parallelism_threads(1)
        data = importlib.import_module("data_utils")
        self.seed_all(seed)
        settings = data.load_yaml_file(folder / "config" / "hyperparameters.yaml")["timeVAE"]
        kind = importlib.import_module("vae.timevae").TimeVAE
        self.vae = kind(seq_len=x.shape[1], feat_dim=x.shape[2], **settings)
        self.scaler = data.MinMaxScaler()
        self.scaled = self.scaler.fit_transform(x)

    def seed_all(self, seed: int) -> None:
        super().seed_all(seed)
        if self.tf is not None:
            self.tf.random.set_seed(seed)

    def train(self, clock: Clock) -> None:
        rows, batch, fit = len(self.x), self.vae.batch_size, self.vae.fit
        callback: Any = self.tf.keras.callbacks.Callback

        class Ticks(callback):
            def on_train_batch_end(self, number: int, logs: Mapping[str, Any]) -> None:
                clock.tick(min(batch, rows - number * batch), float(logs["loss"]))

        def timed(*args: Any, callbacks: list[Any], **options: Any) -> None:
            fit(*args, callbacks=[*callbacks, Ticks()], **options)

        self.vae.fit = timed
        clock.start()
        self.vae.fit_on_data(self.scaled, max_epochs=FOREVER, verbose=0)

    def draw(self, n: int) -> np.ndarray:
        return np.asarray(self.scaler.inverse_transform(self.vae.get_prior_samples(n)))

    def state(self) -> Any:
        return self.vae.decoder.get_weights()

    def restore(self, state: Any) -> None:
        self.vae.decoder.set_weights(state)

    @property
    def parameters(self) -> int:
        return int(sum(np.prod(weight.shape) for weight in self.vae.trainable_weights))

    @property
    def version(self) -> str:
        return self.commit("timeVAE")


class DGAN(Peer):
    """`gretel_synthetics.timeseries_dgan`."""

    def __init__(self, root: Path, x: np.ndarray, seed: int) -> None:
        super().__init__(root, x, seed)
        config = importlib.import_module("gretel_synthetics.timeseries_dgan.config")
        self.continuous = config.OutputType.CONTINUOUS
        settings = config.DGANConfig(
            max_sequence_len=x.shape[1], sample_len=2, batch_size=min(1000, len(x)), apply_feature_scaling=True,
            apply_example_scaling=False, use_attribute_discriminator=False, generator_learning_rate=1e-4,
            discriminator_learning_rate=1e-4, epochs=FOREVER, cuda=False,
        )  # fmt: skip
        self.model = importlib.import_module("gretel_synthetics.timeseries_dgan.dgan").DGAN(settings)

    def train(self, clock: Clock) -> None:
        rows, batch, build = len(self.x), self.model.config.batch_size, self.model._set_mode

        def begin(mode: bool) -> None:
            build(mode)
            clock.start()

        def tick(progress: Any) -> None:
            clock.tick(min(batch, rows - progress.batch * batch))

        # The last call before the first minibatch.
        self.model._set_mode = begin
        try:
            self.model.train_numpy(self.x, [self.continuous] * self.x.shape[2], progress_callback=tick)
        finally:
            self.model._set_mode = build

    def draw(self, n: int) -> np.ndarray:
        return np.asarray(self.model.generate_numpy(n)[1])

    def state(self) -> Any:
        return self.model.feature_outputs, self.model.generator.state_dict()

    def restore(self, state: Any) -> None:
        outputs, weights = state
        self.model._build(None, outputs)
        self.model.generator.load_state_dict(weights)

    @property
    def parameters(self) -> int:
        networks = (self.model.generator, self.model.feature_discriminator)
        return sum(p.numel() for network in networks for p in network.parameters())

    @property
    def version(self) -> str:
        return version("gretel-synthetics")


class PAR(Peer):
    """`deepecho.PARModel`."""

    def __init__(self, root: Path, x: np.ndarray, seed: int) -> None:
        super().__init__(root, x, seed)
        kind: type[Any] = importlib.import_module("deepecho").PARModel
        ours = self

        class AllAtOnce(kind):
            def _compute_loss(self, X_padded: Tensor, Y_padded: Tensor, seq_len: Tensor) -> Any:
                return ours.counted(super()._compute_loss, X_padded, Y_padded)

        self.model = AllAtOnce(epochs=FOREVER, cuda=False, verbose=False)
        self.clock: Clock | None = None

    def counted(self, loss: Callable[..., Any], x: Tensor, y: Tensor) -> Any:
        """Return their loss of windows of one length: of all of them as one long window, over the count that it has."""
        assert self.clock is not None
        steps, rows, width = x.shape
        # Steps of one window follow one another: positions do not matter to a sum.
        flat = (part.transpose(0, 1).reshape(rows * steps, 1, width) for part in (x, y))
        value = loss(*flat, torch.tensor([rows * steps])) / rows**2
        if self.clock.updates == 0:
            self.clock.start()
        self.clock.tick(rows, float(value.detach()))
        return value

    def train(self, clock: Clock) -> None:
        self.clock = clock
        rows = [{"context": [], "data": window.T.tolist()} for window in self.x]
        self.model.fit_sequences(rows, [], ["continuous"] * self.x.shape[2])

    def draw(self, n: int) -> np.ndarray:
        return np.stack([np.asarray(self.model.sample_sequence([]), np.float32).T for _ in range(n)])

    def state(self) -> Any:
        return dict(vars(self.model))

    def restore(self, state: Any) -> None:
        self.model.__dict__.update(state)

    @property
    def parameters(self) -> int:
        return sum(p.numel() for p in self.model._model.parameters())

    @property
    def version(self) -> str:
        return version("deepecho")


PEERS: Mapping[str, type[Peer]] = {
    "diffusion-ts": DiffusionTS, "timevae": TimeVAE, "dgan": DGAN, "par": PAR, "diffusion-ts-500": DiffusionTS500,
}  # fmt: skip


def main() -> None:
    name, root, place, seconds, seed = sys.argv[1:]
    folder = Path(place).resolve()
    torch.set_num_threads(1)
    peer = PEERS[name](Path(root).resolve(), np.load(folder / "windows.npy"), int(seed))
    trained(peer, folder, float(seconds))
    drawn(peer, folder)


if __name__ == "__main__":
    main()
