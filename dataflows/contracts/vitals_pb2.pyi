from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Signal(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SIGNAL_UNSPECIFIED: _ClassVar[Signal]
    SIGNAL_ECG_I: _ClassVar[Signal]
    SIGNAL_ECG_II: _ClassVar[Signal]
    SIGNAL_ECG_III: _ClassVar[Signal]
    SIGNAL_ECG_AVR: _ClassVar[Signal]
    SIGNAL_ECG_AVL: _ClassVar[Signal]
    SIGNAL_ECG_AVF: _ClassVar[Signal]
    SIGNAL_ECG_V1: _ClassVar[Signal]
    SIGNAL_ECG_V2: _ClassVar[Signal]
    SIGNAL_ECG_V3: _ClassVar[Signal]
    SIGNAL_ECG_V4: _ClassVar[Signal]
    SIGNAL_ECG_V5: _ClassVar[Signal]
    SIGNAL_ECG_V6: _ClassVar[Signal]
    SIGNAL_ECG_MLII: _ClassVar[Signal]
    SIGNAL_ECG: _ClassVar[Signal]
    SIGNAL_PLETH: _ClassVar[Signal]
    SIGNAL_RESP: _ClassVar[Signal]
    SIGNAL_ABP: _ClassVar[Signal]
    SIGNAL_NUMERIC: _ClassVar[Signal]
    SIGNAL_QUESTIONNAIRE: _ClassVar[Signal]

class Code(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CODE_UNSPECIFIED: _ClassVar[Code]
    CODE_HR: _ClassVar[Code]
    CODE_PULSE_RATE: _ClassVar[Code]
    CODE_SPO2: _ClassVar[Code]
    CODE_RESP_RATE: _ClassVar[Code]
    CODE_TEMP: _ClassVar[Code]
    CODE_SBP: _ClassVar[Code]
    CODE_DBP: _ClassVar[Code]
    CODE_MAP: _ClassVar[Code]
    CODE_GLUCOSE: _ClassVar[Code]
    CODE_WEIGHT: _ClassVar[Code]
    CODE_ETCO2: _ClassVar[Code]
    CODE_PERFUSION_INDEX: _ClassVar[Code]
    CODE_FIO2: _ClassVar[Code]
    CODE_O2_FLOW: _ClassVar[Code]
    CODE_BATTERY: _ClassVar[Code]
    CODE_CONSCIOUSNESS: _ClassVar[Code]
    CODE_MODEL_SCORE: _ClassVar[Code]

class Unit(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    UNIT_UNSPECIFIED: _ClassVar[Unit]
    UNIT_PER_MIN: _ClassVar[Unit]
    UNIT_PERCENT: _ClassVar[Unit]
    UNIT_CEL: _ClassVar[Unit]
    UNIT_MM_HG: _ClassVar[Unit]
    UNIT_MG_PER_DL: _ClassVar[Unit]
    UNIT_MMOL_PER_L: _ClassVar[Unit]
    UNIT_KG: _ClassVar[Unit]
    UNIT_L_PER_MIN: _ClassVar[Unit]
    UNIT_ONE: _ClassVar[Unit]
    UNIT_DEGF: _ClassVar[Unit]

class Status(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STATUS_NONE: _ClassVar[Status]
    STATUS_LEAD_OFF: _ClassVar[Status]
    STATUS_MOTION: _ClassVar[Status]
    STATUS_PACED: _ClassVar[Status]
SIGNAL_UNSPECIFIED: Signal
SIGNAL_ECG_I: Signal
SIGNAL_ECG_II: Signal
SIGNAL_ECG_III: Signal
SIGNAL_ECG_AVR: Signal
SIGNAL_ECG_AVL: Signal
SIGNAL_ECG_AVF: Signal
SIGNAL_ECG_V1: Signal
SIGNAL_ECG_V2: Signal
SIGNAL_ECG_V3: Signal
SIGNAL_ECG_V4: Signal
SIGNAL_ECG_V5: Signal
SIGNAL_ECG_V6: Signal
SIGNAL_ECG_MLII: Signal
SIGNAL_ECG: Signal
SIGNAL_PLETH: Signal
SIGNAL_RESP: Signal
SIGNAL_ABP: Signal
SIGNAL_NUMERIC: Signal
SIGNAL_QUESTIONNAIRE: Signal
CODE_UNSPECIFIED: Code
CODE_HR: Code
CODE_PULSE_RATE: Code
CODE_SPO2: Code
CODE_RESP_RATE: Code
CODE_TEMP: Code
CODE_SBP: Code
CODE_DBP: Code
CODE_MAP: Code
CODE_GLUCOSE: Code
CODE_WEIGHT: Code
CODE_ETCO2: Code
CODE_PERFUSION_INDEX: Code
CODE_FIO2: Code
CODE_O2_FLOW: Code
CODE_BATTERY: Code
CODE_CONSCIOUSNESS: Code
CODE_MODEL_SCORE: Code
UNIT_UNSPECIFIED: Unit
UNIT_PER_MIN: Unit
UNIT_PERCENT: Unit
UNIT_CEL: Unit
UNIT_MM_HG: Unit
UNIT_MG_PER_DL: Unit
UNIT_MMOL_PER_L: Unit
UNIT_KG: Unit
UNIT_L_PER_MIN: Unit
UNIT_ONE: Unit
UNIT_DEGF: Unit
STATUS_NONE: Status
STATUS_LEAD_OFF: Status
STATUS_MOTION: Status
STATUS_PACED: Status

class Frame(_message.Message):
    __slots__ = ("version", "tenant", "patient", "device", "boot_id", "signal", "seq", "first_sample", "device_ns", "stored", "averaging_s", "waveform", "observations", "questionnaire", "command")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    PATIENT_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    FIRST_SAMPLE_FIELD_NUMBER: _ClassVar[int]
    DEVICE_NS_FIELD_NUMBER: _ClassVar[int]
    STORED_FIELD_NUMBER: _ClassVar[int]
    AVERAGING_S_FIELD_NUMBER: _ClassVar[int]
    WAVEFORM_FIELD_NUMBER: _ClassVar[int]
    OBSERVATIONS_FIELD_NUMBER: _ClassVar[int]
    QUESTIONNAIRE_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    version: int
    tenant: str
    patient: str
    device: str
    boot_id: int
    signal: Signal
    seq: int
    first_sample: int
    device_ns: int
    stored: bool
    averaging_s: float
    waveform: Waveform
    observations: Observations
    questionnaire: QuestionnaireAnswer
    command: Command
    def __init__(self, version: _Optional[int] = ..., tenant: _Optional[str] = ..., patient: _Optional[str] = ..., device: _Optional[str] = ..., boot_id: _Optional[int] = ..., signal: _Optional[_Union[Signal, str]] = ..., seq: _Optional[int] = ..., first_sample: _Optional[int] = ..., device_ns: _Optional[int] = ..., stored: _Optional[bool] = ..., averaging_s: _Optional[float] = ..., waveform: _Optional[_Union[Waveform, _Mapping]] = ..., observations: _Optional[_Union[Observations, _Mapping]] = ..., questionnaire: _Optional[_Union[QuestionnaireAnswer, _Mapping]] = ..., command: _Optional[_Union[Command, _Mapping]] = ...) -> None: ...

class Waveform(_message.Message):
    __slots__ = ("fs_mhz", "lsb", "samples", "status", "duration_ms")
    FS_MHZ_FIELD_NUMBER: _ClassVar[int]
    LSB_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    DURATION_MS_FIELD_NUMBER: _ClassVar[int]
    fs_mhz: int
    lsb: float
    samples: bytes
    status: int
    duration_ms: int
    def __init__(self, fs_mhz: _Optional[int] = ..., lsb: _Optional[float] = ..., samples: _Optional[bytes] = ..., status: _Optional[int] = ..., duration_ms: _Optional[int] = ...) -> None: ...

class Observations(_message.Message):
    __slots__ = ("items",)
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[Observation]
    def __init__(self, items: _Optional[_Iterable[_Union[Observation, _Mapping]]] = ...) -> None: ...

class Observation(_message.Message):
    __slots__ = ("code", "value", "unit", "quality_pct", "offset_ms", "status")
    CODE_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    QUALITY_PCT_FIELD_NUMBER: _ClassVar[int]
    OFFSET_MS_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    code: Code
    value: float
    unit: Unit
    quality_pct: int
    offset_ms: int
    status: int
    def __init__(self, code: _Optional[_Union[Code, str]] = ..., value: _Optional[float] = ..., unit: _Optional[_Union[Unit, str]] = ..., quality_pct: _Optional[int] = ..., offset_ms: _Optional[int] = ..., status: _Optional[int] = ...) -> None: ...

class QuestionnaireAnswer(_message.Message):
    __slots__ = ("instrument", "instrument_version", "answers", "mode")
    INSTRUMENT_FIELD_NUMBER: _ClassVar[int]
    INSTRUMENT_VERSION_FIELD_NUMBER: _ClassVar[int]
    ANSWERS_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    instrument: str
    instrument_version: str
    answers: _containers.RepeatedCompositeFieldContainer[Answer]
    mode: str
    def __init__(self, instrument: _Optional[str] = ..., instrument_version: _Optional[str] = ..., answers: _Optional[_Iterable[_Union[Answer, _Mapping]]] = ..., mode: _Optional[str] = ...) -> None: ...

class Answer(_message.Message):
    __slots__ = ("item", "value")
    ITEM_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    item: str
    value: float
    def __init__(self, item: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...

class Command(_message.Message):
    __slots__ = ("name", "actor", "idempotency_key", "argument_json")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    ARGUMENT_JSON_FIELD_NUMBER: _ClassVar[int]
    name: str
    actor: str
    idempotency_key: str
    argument_json: str
    def __init__(self, name: _Optional[str] = ..., actor: _Optional[str] = ..., idempotency_key: _Optional[str] = ..., argument_json: _Optional[str] = ...) -> None: ...
