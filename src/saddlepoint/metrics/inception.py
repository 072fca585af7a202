"""The Inception-v3 of 2015, by which colour pictures are judged in papers: its weights, fetched and checked."""

from __future__ import annotations

import hashlib
from pathlib import Path
from urllib.error import URLError

import torch
from torch import Tensor

from saddlepoint.core.errors import ConfigError, DataError
from saddlepoint.core.progress import Say
from saddlepoint.metrics.extractors import Features, Pictures, as_seen, check_images, through

URL = "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth"
SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"


class Inception:
    """The Inception-v3 of 2015 in the form of torch-fidelity: its pool of 2,048 features and 1,008 classes.

    Images of any size are enlarged to 299 x 299 as the original TensorFlow graph does; grey ones are repeated in
    three channels, transparent ones laid on white. Probabilities come from the logits without bias, as in the
    Inception score's released code.
    Made by `inception_v3`.

    Args:
        network: from uint8 images (n, 3, h, w) to features (n, 2048) and logits (n, 1008).
        sha256: of the file of weights.
        device: where to compute.
    """

    name = "inception-v3"
    version = "torch-fidelity 2015-12-05"
    shape = (3, None, None)
    features = 2048
    classes = 1008

    def __init__(self, network: torch.nn.Module, sha256: str, device: str | torch.device = "cpu") -> None:
        self.network, self.sha256, self.device = network.to(device).eval().requires_grad_(False), sha256, device

    @torch.inference_mode()
    def extract(self, images: Pictures, batch: int = 50) -> Features:
        """Return features and class probabilities; see `Extractor.extract`."""
        other = images.ndim == 4 and images.shape[1] in (1, 4)
        check_images(images, self, batch, any_channels=other)

        def network(x: Tensor) -> tuple[Tensor, Tensor]:
            found: tuple[Tensor, Tensor] = self.network(as_seen(x)[:, :3].to(self.device).expand(-1, 3, -1, -1))
            return found

        return through(self, images, batch, network)


def inception_v3(
    weights: Path | None = None, *, device: str | torch.device = "cpu", say: Say | None = None
) -> Inception:
    """Return torch-fidelity's Inception-v3, with weights whose SHA-256 is known.

    Args:
        weights: file of weights; None: where torch-fidelity keeps it, below ``torch.hub.get_dir()``, downloaded
            (91 MB) if it is not there.
        device: where to compute.
        say: receives a line when a download starts; None: silence.

    Raises:
        ConfigError: if torch-fidelity or torchvision, which it needs, is not installed.
        DataError: if the weights are not there and cannot be downloaded, or are not the ones expected.

    Source: Szegedy et al. 2016 for the network; Heusel et al. 2017 for its use.
    """
    try:
        from torch_fidelity import feature_extractor_inceptionv3 as fidelity  # type: ignore
    except ImportError as error:
        raise ConfigError(
            f"'inception-v3' needs torch-fidelity, which cannot be imported ({error}); "
            "pip install 'saddlepoint[inception]', with the torchvision that belongs to your PyTorch"
        ) from error
    path = weights or Path(torch.hub.get_dir()) / "checkpoints" / URL.rsplit("/", 1)[1]
    if weights is None and not path.is_file():
        _download(path, say)
    try:
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"the weights of 'inception-v3' are not at {path}; {_remedy(path)}") from error
    if digest != SHA256:
        raise DataError(
            f"{path} has SHA-256 {digest[:16]}..., expected {SHA256[:16]}...: it is damaged or another file; "
            f"delete it, then {_remedy(path)}"
        )
    state = torch.load(path, map_location="cpu", weights_only=True)
    # torch-fidelity would read the file with a full unpickler; it takes what its downloader returns just as well.
    original, fidelity.load_state_dict_from_url = fidelity.load_state_dict_from_url, lambda *_, **__: state
    try:
        network = fidelity.FeatureExtractorInceptionV3("inception-v3-compat", ["2048", "logits_unbiased"])
    finally:
        fidelity.load_state_dict_from_url = original
    return Inception(network, digest, device)


def _download(path: Path, say: Say | None) -> None:
    if say is not None:
        say(f"inception-v3: downloading its weights (91 MB) to {path}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(URL, str(path), hash_prefix=SHA256, progress=False)
    except (URLError, OSError, RuntimeError) as error:
        raise DataError(f"the weights of 'inception-v3' cannot be downloaded ({error}); {_remedy(path)}") from error


def _remedy(path: Path) -> str:
    return f"put {URL} there by hand ({path}), or use another extractor"
