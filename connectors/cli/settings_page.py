"""Settings for people: the page docs/settings.md, and a table of what is in force and where it comes from."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from dataflows.settings import Settings

_INTRO = """\
# Settings

Every setting is an environment variable, a key of `vitals.toml` in the working directory (or of the file that
`VITALS_CONFIG` names), or has its default, in that order. `vitals settings` prints what is in force. An unknown name in
the file is an error.

```toml
[nats]
url = "nats://10.0.0.5:4222"
```

This page is generated from `dataflows/settings.py` by `just docs`.
"""


@dataclass(frozen=True)
class Setting:
    """One setting: its group and name, what it is, its default, and what is in force."""

    group: str
    name: str
    field: FieldInfo
    value: Any
    given: bool

    @property
    def variable(self) -> str:
        """Environment variable."""
        return f"VITALS_{self.group}__{self.name}".upper()

    @property
    def source(self) -> str:
        """Where the value comes from, in a word."""
        if any(name.upper() == self.variable for name in os.environ):
            return "environment"
        return "file" if self.given else "default"


def settings_of(settings: Settings) -> Iterator[Setting]:
    """Yields every setting in the order of the source."""
    for group in type(settings).model_fields:
        part: BaseModel = getattr(settings, group)
        for name, field in type(part).model_fields.items():
            yield Setting(group, name, field, getattr(part, name), name in part.model_fields_set)


def shown(value: object) -> str:
    """Returns a value as people write it; secrets stay hidden."""
    if value is None:
        return ""
    if isinstance(value, SecretStr):
        return "********"
    if isinstance(value, bool):
        return str(value).lower()
    return re.sub(r"(password=)\S+", r"\1********", str(value))


def markdown() -> str:
    """Returns docs/settings.md: defaults, whatever is in force here."""
    settings = Settings.model_construct()
    lines = [_INTRO]
    group = ""
    for setting in settings_of(settings):
        if setting.group != group:
            group = setting.group
            description = (type(getattr(settings, group)).__doc__ or "").strip().splitlines()[0]
            lines += [f"## {group}", "", description, "", "| key | variable | kind | default | meaning |"]
            lines += ["|---|---|---|---|---|"]
        default = shown(setting.field.default)
        lines.append(
            f"| `{setting.name}` | `{setting.variable}` | {_kind(setting.field)} "
            f"| {f'`{default}`' if default else ''} | {setting.field.description} |"
        )
        if setting.name == list(type(getattr(settings, group)).model_fields)[-1]:
            lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _kind(field: FieldInfo) -> str:
    """The type in words, with its bounds."""
    names = {
        "str": "text",
        "int": "integer",
        "float": "number",
        "bool": "true or false",
        "Path": "path",
        "SecretStr": "secret",
    }
    options = [option for option in get_args(field.annotation) if option is not type(None)]
    if options and (choices := get_args(options[0])):
        return "list of " + ", ".join(f"`{choice}`" for choice in choices)
    if options and all(isinstance(option, str) for option in options):
        return " or ".join(f"`{option}`" for option in options)
    if options and isinstance(options[0], type) and issubclass(options[0], BaseModel):
        return "tables"
    kind = options[0] if get_origin(field.annotation) is not None and options else field.annotation
    words = names.get(getattr(kind, "__name__", str(kind)), str(kind))
    signs = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
    bounds = [
        f"{sign} {getattr(rule, name):g}"
        for rule in field.metadata
        for name, sign in signs.items()
        if getattr(rule, name, None) is not None
    ]
    return ", ".join([words, *bounds])
