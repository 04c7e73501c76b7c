"""The declaration of a model: who it is, what it is given of each patient, when, and how long it may take."""

import hashlib
import math
import re
import tomllib
from dataclasses import dataclass
from functools import cached_property
from typing import NoReturn

import msgspec

from dataflows.contracts import vitals_pb2 as pb
from dataflows.contracts.frames import MODEL_PREFIX
from dataflows.models.features import STATISTICS

_NAME = re.compile(r"[a-z0-9_]{1,48}")
_READ = {pb.Code.Name(code).removeprefix("CODE_").lower() for code in pb.Code.values() if code} - {"model_score"}
_DERIVED = {"heart_rate", "sdnn", "rmssd", "pnn50", "ecg_resp_rate"}
"""What detectors derive of a stretch of signal (table `derived`, scope `window`); it costs the detectors once more."""
_MAX_SLOTS = 2880
"""Values of a signal in a window: more would make a patient's state larger than its detectors'."""


class ModelError(ValueError):
    """A declaration says something that cannot be kept; the message names the field."""


class _Spec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A declaration as it stands in a file."""

    name: str
    version: int
    scorer: str
    features: tuple[str, ...]
    window_s: float
    step_s: float
    sample_s: float = 30.0
    require: tuple[str, ...] = ()
    budget_s: float = 1.0
    startup_s: float = 60.0
    batch: int = 256
    late_s: float = 30.0
    memory_mb: int = 0


@dataclass(frozen=True)
class Feature:
    """A number about one signal in a window."""

    code: str
    statistic: str


@dataclass(frozen=True)
class Model:
    """A declaration, checked.

    Attributes:
        name: Its scores come from the device `model-<name>`.
        version: Boot counter of that device: a changed model or declaration has a higher one.
        scorer: `package.module:callable`, or `onnx:<file>`.
        features: Columns of the matrix that the scorer gets.
        window_ns: How far a window looks back.
        step_ns: Windows end at whole multiples of this.
        sample_ns: Of each signal the last value in each of these is kept.
        require: Without a value of each of these in the window there is no score, and the model is not asked.
        budget_s: A batch that takes longer is given up, and the scorer's process with it.
        startup_s: How long the scorer may take to be ready.
        batch: Patients in a batch, at most.
        late_s: A score that comes later than this after its window is recorded and pages nobody.
        memory_mb: Address space of the scorer's process; 0 sets no limit.
        digest: Of the declaration.
    """

    name: str
    version: int
    scorer: str
    features: tuple[Feature, ...]
    window_ns: int
    step_ns: int
    sample_ns: int
    require: frozenset[str]
    budget_s: float
    startup_s: float
    batch: int
    late_s: float
    memory_mb: int
    digest: str

    @property
    def device(self) -> str:
        """Device token of its frames."""
        return f"{MODEL_PREFIX}{self.name}"

    @cached_property
    def codes(self) -> frozenset[str]:
        """Signals that it looks at."""
        return frozenset(feature.code for feature in self.features)

    @property
    def needs_waves(self) -> bool:
        """Whether a feature comes from a detector."""
        return not self.codes.isdisjoint(_DERIVED)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the features, as declared."""
        return tuple(f"{feature.code}.{feature.statistic}" for feature in self.features)


def read_model(text: str) -> Model:
    """Returns the model that a TOML text declares.

    Raises:
        ModelError: It declares none; says which field and what it may be.
    """
    try:
        spec = msgspec.convert(tomllib.loads(text), _Spec)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ModelError(str(error)) from error
    if not _NAME.fullmatch(spec.name):
        _refuse("name has up to 48 small letters, digits and underscores")
    if not 1 <= spec.version < 1 << 31:
        _refuse("version counts from 1")
    if ":" not in spec.scorer:
        _refuse("scorer is `package.module:callable` or `onnx:<file>`")
    features = tuple(_feature(name) for name in spec.features)
    if not features or len(set(features)) < len(features):
        _refuse("features names at least one number, and none twice")
    if missing := set(spec.require) - {feature.code for feature in features}:
        _refuse(f"require names {sorted(missing)}, of which no feature is made")
    window_ns, step_ns, sample_ns = _times(spec)
    for name, value in (("budget_s", spec.budget_s), ("startup_s", spec.startup_s), ("late_s", spec.late_s)):
        if not 0 < value <= 3600:
            _refuse(f"{name} is more than 0 and at most 3600, not {value:g}")
    if not 1 <= spec.batch <= 4096 or spec.memory_mb < 0:
        _refuse("batch is 1 to 4096 and memory_mb not below 0")
    digest = hashlib.sha256(msgspec.json.encode(spec)).hexdigest()[:12]
    return Model(
        spec.name, spec.version, spec.scorer, features, window_ns, step_ns, sample_ns, frozenset(spec.require),
        spec.budget_s, spec.startup_s, spec.batch, spec.late_s, spec.memory_mb, digest,
    )  # fmt: skip


def _feature(name: str) -> Feature:
    code, _, statistic = name.partition(".")
    if code not in _READ | _DERIVED:
        _refuse(f"feature {name}: there is no signal {code}; there are {', '.join(sorted(_READ | _DERIVED))}")
    if statistic not in STATISTICS:
        _refuse(f"feature {name}: {statistic or 'nothing'} is none of {', '.join(STATISTICS)}")
    return Feature(code, statistic)


def _times(spec: _Spec) -> tuple[int, int, int]:
    ns = []
    for name, value in (("window_s", spec.window_s), ("step_s", spec.step_s), ("sample_s", spec.sample_s)):
        if not 1 <= value <= 7 * 86_400 or not math.isclose(value, round(value)):
            _refuse(f"{name} is a whole number of seconds, from 1 to a week, not {value:g}")
        ns.append(round(value) * 1_000_000_000)
    window_ns, step_ns, sample_ns = ns
    if window_ns % sample_ns or step_ns % sample_ns:
        _refuse("window_s and step_s are multiples of sample_s, so that every window holds whole samples")
    if window_ns // sample_ns > _MAX_SLOTS:
        _refuse(f"a window holds at most {_MAX_SLOTS} samples of a signal: raise sample_s")
    return window_ns, step_ns, sample_ns


def _refuse(message: str) -> NoReturn:
    raise ModelError(message)
