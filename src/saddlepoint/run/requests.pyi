"""Keyword arguments of `train`, `plan` and `resume`, by family; written by tests/make_requests.py."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Unpack, overload

from saddlepoint.data.options import Preparation
from saddlepoint.run.callbacks import Callback
from saddlepoint.run.plan import Plan
from saddlepoint.run.run import Run

class Request(Preparation, total=False):
    preset: str | None
    budget: str | float | None
    kimg: float | None
    steps: int | None
    seed: int
    out: str | Path | None
    name: str | None
    runs: str | Path | None
    device: str
    threads: int | str | None
    checkpoint: str | float
    remedy: str | None
    stop_when: str | None
    micro_batch: int | None
    precision: str
    compile: bool
    deterministic: bool
    averages: str
    start_from: str | Path | None
    freeze_discriminator: int
    private: bool
    epsilon: float | None
    delta: float | None
    clip: float | None
    noise_multiplier: float | None
    log_to: str | Sequence[str] | None
    options: Mapping[str, Any] | None

class Training(Request, total=False):
    progress: bool | None
    callbacks: Sequence[Callback]

class GANRequest(Training, total=False):
    batch_size: int
    ema_half_life_kimg: float | None
    ema_ramp: float | None
    latent_size: int
    latent: Literal["uniform", "normal"]
    generator_widths: Sequence[int]
    generator: Literal["relu", "relu-sigmoid", "deconv", "leaky-rms"]
    discriminator: Literal["maxout", "maxout-conv", "leaky-relu"]
    discriminator_widths: Sequence[int]
    pieces: int
    keep_input: float
    keep_hidden: float
    init: Literal["uniform", "he"]
    output_init: Literal["dense", "sparse", "wide"]
    sigmoid_bias: float
    column_norm: float | None
    contrast: float | None
    prior_widths: Sequence[int]
    pretrain_epochs: int
    train_epochs: int | None
    given: Literal["none", "left", "right", "top", "bottom"]
    objective: Literal["minimax", "non-saturating", "least-squares", "hinge", "wasserstein", "relativistic"]
    discriminator_weight: float
    r1_gamma: float | None
    r2_gamma: float | None
    gamma_decay_kimg: float | None
    k: int
    simultaneous: bool
    optimizer: Literal["sgd", "adam"]
    lr: float
    discriminator_lr: float
    instance_noise: float
    lr_decay: float
    lr_decay_kimg: float | None
    lr_floor: float
    momentum: float
    momentum_end: float
    momentum_epochs: int
    beta1: float
    beta2: float

class CGANRequest(Training, total=False):
    batch_size: int
    ema_half_life_kimg: float | None
    ema_ramp: float | None
    latent_size: int
    latent: Literal["uniform", "normal"]
    networks: Literal["maxout", "leaky"]
    generator_widths: Sequence[int]
    discriminator_widths: Sequence[int]
    pieces: Sequence[int]
    keep_probability: float
    sample_dropout: bool
    objective: Literal["minimax", "non-saturating", "least-squares", "hinge", "wasserstein", "relativistic"]
    r1_gamma: float | None
    r2_gamma: float | None
    gamma_decay_kimg: float | None
    simultaneous: bool
    optimizer: Literal["sgd", "adam"]
    lr: float
    discriminator_lr: float
    lr_decay: float
    lr_decay_kimg: float | None
    lr_floor: float
    momentum: float
    momentum_end: float
    momentum_epochs: int
    beta1: float
    beta2: float

class DCGANRequest(Training, total=False):
    batch_size: int
    ema_half_life_kimg: float | None
    ema_ramp: float | None
    conditional: bool
    latent_size: int
    latent: Literal["uniform", "normal"]
    width: int
    max_width: int
    kernel: int
    generator_norm: Literal["batch", "channel"]
    discriminator_norm: Literal["none", "batch", "spectral"]
    init: Literal["paper", "he"]
    objective: Literal["minimax", "non-saturating", "least-squares", "hinge", "wasserstein", "relativistic"]
    r1_gamma: float | None
    r2_gamma: float | None
    gamma_decay_kimg: float | None
    penalty_form: Literal["exact", "finite-difference"]
    penalty_step: float
    penalty_every: int
    augment: Sequence[str]
    augment_p: float
    ada_kimg: float | None
    simultaneous: bool
    optimizer: Literal["adam", "muon"]
    matrix_lr: float
    momentum: float
    lr: float
    discriminator_lr: float
    lr_decay_kimg: float | None
    beta1: float
    beta2: float
    weight_decay: float

class TimeGANRequest(Training, total=False):
    batch_size: int
    ema_half_life_kimg: float | None
    ema_ramp: float | None
    space: Literal["learned", "fixed"]
    start: Literal["learned", "data", "auto"]
    width: int
    layers: int
    cell: Literal["gru", "gru-before", "lstm"]
    bidirectional: bool
    recovery: Literal["recurrent", "feed-forward"]
    latent: Literal["uniform", "normal", "wiener"]
    latent_size: int | None
    latent_shared: int
    supervisor_noise: bool
    embedding_iterations: int
    supervised_iterations: int
    joint_iterations: int | None
    generator_steps: int
    reconstruction_weight: float
    embedder_supervision: float
    generator_supervision: float
    moments: float
    category_weight: float
    gamma: float
    gate: float | None
    critic_width: int
    objective: Literal["minimax", "non-saturating", "least-squares", "hinge", "wasserstein", "relativistic"]
    r1_gamma: float | None
    r2_gamma: float | None
    gamma_decay_kimg: float | None
    penalty_form: Literal["exact", "finite-difference"]
    penalty_step: float
    penalty_every: int
    lr: float
    discriminator_lr: float
    lr_decay_kimg: float | None
    beta1: float
    beta2: float

class StyleGAN1Request(Training, total=False):
    batch_size: int
    ema_half_life_kimg: float | None
    ema_ramp: float | None
    latent_size: int
    w_size: int
    mapping_depth: int
    width: int
    max_width: int
    deviation_group: int
    equalised: bool
    mixing: float
    first_level: int
    fade_kimg: float
    stable_kimg: float
    objective: Literal["minimax", "non-saturating", "least-squares", "hinge", "wasserstein", "relativistic"]
    r1_gamma: float | None
    lr: float
    discriminator_lr: float
    beta1: float
    beta2: float

class StyleGANRequest(Training, total=False):
    batch_size: int
    ema_half_life_kimg: float | None
    ema_ramp: float | None
    conditional: bool
    latent_size: int
    w_size: int
    mapping_depth: int
    width: int
    max_width: int
    widths: Sequence[int]
    resample_filter: Sequence[float]
    clamp: float | None
    norm_epsilon: float
    fixed_noise: bool
    bounded: bool
    discriminator: Literal["residual", "plain", "skip", "strided"]
    deviation_group: int
    label_depth: int | None
    unit_labels: bool
    equalised: bool
    mixing: float
    objective: Literal["minimax", "non-saturating", "least-squares", "hinge", "wasserstein", "relativistic"]
    simultaneous: bool
    r1_gamma: float | None
    r2_gamma: float | None
    penalty_form: Literal["exact", "finite-difference"]
    penalty_step: float
    penalty_every: int
    path_weight: float
    path_every: int
    augment: Sequence[str]
    augment_p: float | None
    ada_kimg: float | None
    optimizer: Literal["adam", "muon"]
    matrix_lr: float
    momentum: float
    lr: float
    discriminator_lr: float
    warm_up_kimg: float | None
    lr_decay_kimg: float | None
    beta1: float
    beta2: float

class StarGANRequest(Training, total=False):
    batch_size: int
    ema_half_life_kimg: float | None
    ema_ramp: float | None
    width: int
    blocks: int
    refining: int
    kernel: int
    condition: Literal["input", "norm"]
    told: Literal["target", "pairs"]
    skip: Literal["none", "input", "colours"]
    colours_steps: int
    colours_lr: float
    discriminator_width: int
    layers: int
    objective: Literal["minimax", "non-saturating", "least-squares", "hinge", "wasserstein", "relativistic"]
    penalty: float
    r1_gamma: float | None
    r1_classes: bool
    classification: float
    cycle: float
    identity: float
    n_critic: int
    simultaneous: bool
    init: Literal["paper", "he"]
    flip: bool
    lr: float
    discriminator_lr: float
    lr_constant_kimg: float | None
    lr_fall_kimg: float
    beta1: float
    beta2: float

class StarGAN2Request(Training, total=False):
    batch_size: int
    ema_half_life_kimg: float | None
    ema_ramp: float | None
    latent_size: int
    style_size: int
    width: int
    max_width: int
    halvings: int
    blocks: int
    style_width: int
    output_norm: bool
    bounded: bool
    discriminator: Literal["residual", "strided"]
    discriminator_width: int
    objective: Literal["minimax", "non-saturating", "least-squares", "hinge", "wasserstein", "relativistic"]
    simultaneous: bool
    r1_gamma: float
    r2_gamma: float
    style: float
    diversity: float
    diversity_fall_kimg: float | None
    cycle: float
    references: bool
    flip: bool
    lr: float
    discriminator_lr: float
    mapping_lr: float
    beta1: float
    beta2: float
    weight_decay: float

class R3GANRequest(Training, total=False):
    batch_size: int
    ema_half_life_kimg: float | None
    ema_ramp: float | None
    conditional: bool
    latent_size: int
    widths: Sequence[int]
    blocks: int
    block: Literal["grouped", "dense"]
    expansion: int
    group_size: int
    simultaneous: bool
    r1_gamma: float | None
    r2_gamma: float | None
    gamma_fall: float
    augment: Sequence[str]
    augment_p: float
    augment_rises: bool
    optimizer: Literal["adam", "muon"]
    matrix_lr: float
    momentum: float
    lr: float
    lr_fall: float
    lr_decay_kimg: float | None
    warm_up_kimg: float | None
    discriminator_lr: float
    beta1: float
    beta2: float
    first_beta2: float | None
    burn_in_kimg: float | None

class RBMRequest(Training, total=False):
    batch_size: int
    ema_half_life_kimg: float | None
    ema_ramp: float | None
    chains: int
    gibbs_steps: int
    centred: bool
    init_deviation: float
    lr: float
    lr_decay_kimg: float | None
    lr_fall_kimg: float | None
    momentum: float
    sample_steps: int
    sample_start: Literal["chains", "mean"]
    ais_distributions: int
    ais_runs: int
    hidden: int
    persistent: bool

class AutoencoderRequest(Training, total=False):
    batch_size: int
    ema_half_life_kimg: float | None
    ema_ramp: float | None
    latent_size: int
    networks: Literal["auto", "mlp", "convolutional"]
    encoder_widths: Sequence[int]
    decoder_widths: Sequence[int]
    width: int
    activation: Literal["leaky", "tanh"]
    code_weight: float
    code_memory: float
    lr: float
    lr_decay_kimg: float | None
    beta1: float
    beta2: float

class DBMRequest(Training, total=False):
    batch_size: int
    ema_half_life_kimg: float | None
    ema_ramp: float | None
    chains: int
    gibbs_steps: int
    centred: bool
    init_deviation: float
    lr: float
    lr_decay_kimg: float | None
    lr_fall_kimg: float | None
    momentum: float
    sample_steps: int
    sample_start: Literal["chains", "mean"]
    ais_distributions: int
    ais_runs: int
    hidden_widths: Sequence[int]
    mean_field_steps: int

class VAERequest(Training, total=False):
    batch_size: int
    ema_half_life_kimg: float | None
    ema_ramp: float | None
    latent_size: int
    likelihood: Literal["auto", "bernoulli", "gaussian", "logistic"]
    deviation: float | None
    networks: Literal["auto", "mlp", "convolutional"]
    encoder_widths: Sequence[int]
    decoder_widths: Sequence[int]
    width: int
    activation: Literal["leaky", "tanh"]
    importance: int
    bound_samples: int
    draw: bool
    lr: float
    lr_decay_kimg: float | None
    beta1: float
    beta2: float

class FlowRequest(Training, total=False):
    batch_size: int
    ema_half_life_kimg: float | None
    ema_ramp: float | None
    scales: int
    flow_steps: int
    width: int
    coupling: Literal["affine", "additive"]
    scale_limit: float
    mixing: Literal["lu", "reverse"]
    logit_alpha: float | None
    temperature: float
    optimizer: Literal["adam", "muon"]
    matrix_lr: float
    momentum: float
    lr: float
    lr_decay_kimg: float | None
    warm_up_kimg: float | None
    beta1: float
    beta2: float

class DiffusionRequest(Training, total=False):
    batch_size: int
    ema_half_life_kimg: float | None
    ema_ramp: float | None
    process: Literal["flow", "ddpm"]
    schedule: Literal["linear", "cosine"]
    chain_steps: int
    times: Literal["uniform", "logit-normal"]
    prediction: Literal["velocity", "data"]
    evaluations: int
    solver: Literal["auto", "midpoint", "euler", "heun", "ancestral", "ddim"]
    conditional: bool
    guidance: float
    label_dropout: float
    widths: Sequence[int]
    blocks: int
    patch: int
    block: Literal["plain", "published"]
    attention: int | None
    keep_probability: float
    condition_width: int
    vector_width: int
    optimizer: Literal["adam", "muon"]
    matrix_lr: float
    momentum: float
    lr: float
    lr_decay_kimg: float | None
    warm_up_kimg: float | None
    beta1: float
    beta2: float
    game: bool
    discriminator_width: int
    discriminator_lr: float
    r1_gamma: float | None
    r2_gamma: float | None

class DriftingRequest(Training, total=False):
    batch_size: int
    ema_half_life_kimg: float | None
    ema_ramp: float | None
    conditional: bool
    temperatures: Sequence[float]
    pooling: Sequence[int]
    widths: Sequence[int]
    blocks: int
    patch: int
    condition_width: int
    vector_width: int
    optimizer: Literal["adam", "muon"]
    matrix_lr: float
    momentum: float
    lr: float
    lr_decay_kimg: float | None
    warm_up_kimg: float | None
    beta1: float
    beta2: float

@overload
def train(family: Literal["gan"] = "gan", data: Any = "mnist", **request: Unpack[GANRequest]) -> Run: ...
@overload
def train(family: Literal["cgan"], data: Any = "mnist", **request: Unpack[CGANRequest]) -> Run: ...
@overload
def train(family: Literal["dcgan"], data: Any = "mnist", **request: Unpack[DCGANRequest]) -> Run: ...
@overload
def train(family: Literal["timegan"], data: Any = "mnist", **request: Unpack[TimeGANRequest]) -> Run: ...
@overload
def train(family: Literal["stylegan1"], data: Any = "mnist", **request: Unpack[StyleGAN1Request]) -> Run: ...
@overload
def train(family: Literal["stylegan"], data: Any = "mnist", **request: Unpack[StyleGANRequest]) -> Run: ...
@overload
def train(family: Literal["stargan"], data: Any = "mnist", **request: Unpack[StarGANRequest]) -> Run: ...
@overload
def train(family: Literal["stargan2"], data: Any = "mnist", **request: Unpack[StarGAN2Request]) -> Run: ...
@overload
def train(family: Literal["r3gan"], data: Any = "mnist", **request: Unpack[R3GANRequest]) -> Run: ...
@overload
def train(family: Literal["rbm"], data: Any = "mnist", **request: Unpack[RBMRequest]) -> Run: ...
@overload
def train(family: Literal["autoencoder"], data: Any = "mnist", **request: Unpack[AutoencoderRequest]) -> Run: ...
@overload
def train(family: Literal["dbm"], data: Any = "mnist", **request: Unpack[DBMRequest]) -> Run: ...
@overload
def train(family: Literal["vae"], data: Any = "mnist", **request: Unpack[VAERequest]) -> Run: ...
@overload
def train(family: Literal["flow"], data: Any = "mnist", **request: Unpack[FlowRequest]) -> Run: ...
@overload
def train(family: Literal["diffusion"], data: Any = "mnist", **request: Unpack[DiffusionRequest]) -> Run: ...
@overload
def train(family: Literal["drifting"], data: Any = "mnist", **request: Unpack[DriftingRequest]) -> Run: ...

# A family of your own: its options are typed in its file; give them as options={...}.
@overload
def train(family: str, data: Any = "mnist", **request: Unpack[Training]) -> Run: ...
def plan(family: str = "gan", data: Any = "mnist", **request: Unpack[Request]) -> Plan: ...
def resume(
    path: str | Path,
    *,
    data: Any = None,
    budget: str | float | None = None,
    kimg: float | None = None,
    steps: int | None = None,
    stop_when: str | None = None,
    device: str | None = None,
    threads: int | str | None = None,
    runs: str | Path | None = None,
    log_to: str | Sequence[str] | None = None,
    progress: bool | None = None,
    callbacks: Sequence[Callback] = (),
) -> Run: ...
