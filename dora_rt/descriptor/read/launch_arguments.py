"""Read `arguments:` beside `nodes:`: what `dora-launch FILE name=value` may set."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from dora_rt.descriptor.read.parameter_keys import parse_choices, parse_number, parse_value
from dora_rt.descriptor.tree.document import Kind, YamlMapping, YamlScalar, YamlValue, describe
from dora_rt.descriptor.tree.environment_variables import expand
from dora_rt.descriptor.tree.fields import Fields, is_nothing
from dora_rt.descriptor.tree.host import Host
from dora_rt.descriptor.tree.keys import ARGUMENT
from dora_rt.descriptor.tree.model import Place
from dora_rt.descriptor.tree.problems import (
    MalformedError,
    Problems,
    did_you_mean,
    listing,
    quote,
)
from dora_rt.errors import ParameterRefusedError
from dora_rt.node_parameters import Parameter, ParameterKind, kind_of, kind_of_items

ARGUMENTS = "arguments"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class LaunchArgument:
    """One argument of a dataflow file.

    Attributes:
        form: its name, type, limits, choices and help.
        default: its text if nobody gives one; None: somebody must.
    """

    form: Parameter
    default: str | None


def read_launch_arguments(
    document: YamlMapping, environ: Mapping[str, str] | None, problems: Problems
) -> list[LaunchArgument]:
    """Read what a file declares; what is wrong goes to `problems`."""
    value = document.get(ARGUMENTS)
    if value is None or is_nothing(value):
        return []
    if not isinstance(value, YamlMapping):
        what = "'arguments' of the dataflow: expected a mapping such as 'camera: 0'"
        problems.add(value.place, f"{what}, got {describe(value)}")
        return []
    found = []
    for key, item in value.entries:
        if not _NAME.fullmatch(key.text):
            problems.add(
                key.place,
                f"invalid name {quote(key.text)} in 'arguments' of the dataflow",
                "use a-z, A-Z, 0-9 and '_', beginning with a letter or '_'",
            )
            continue
        owner = f"argument {quote(key.text)}"
        before = len(problems)
        try:
            argument = _read(key.text, item, owner, environ, problems)
        except MalformedError as error:
            problems.add(item.place, f"{owner}: {error.what}", error.hint)
        except ParameterRefusedError as error:
            problems.add(item.place, f"{owner}: {error}")
        else:
            found += [argument] if len(problems) == before else []
    return found


def settle_arguments(document: YamlMapping, host: Host, problems: Problems) -> dict[str, str]:
    """Return the text of each argument: what was given for it, or its default.

    Raises:
        DescriptorProblems: with the problems so far, if one of them is of an argument: others may
            follow from it.
    """
    before = len(problems)
    arguments = read_launch_arguments(document, host.environ, problems)
    known = [argument.form.name for argument in arguments]
    value = document.get(ARGUMENTS)
    for name in host.arguments.keys() - set(known) if len(problems) == before else ():
        hint = did_you_mean(name, known)
        if hint is None:
            hint = f"it has: {listing(known)}" if known else "it has no 'arguments'"
        problems.add(document.place, f"the dataflow has no argument {quote(name)}", hint)
    texts = {}
    for argument in arguments:
        form, name = argument.form, argument.form.name
        text = host.arguments.get(name, argument.default)
        place = _place_of(value, name, document)
        if text is None:
            hint = f"give it: {name}=VALUE{f' ({form.help})' if form.help else ''}"
            problems.add(place, f"argument {quote(name)} has no default", hint)
        elif name in host.arguments:
            try:
                form.read(text)
            except ParameterRefusedError as error:
                problems.add(place, f"argument {quote(name)}={text}: {error}")
        texts[name] = text or ""
    if len(problems) > before:
        problems.raise_if_any()
    return texts


def _read(
    name: str,
    value: YamlValue,
    owner: str,
    environ: Mapping[str, str] | None,
    problems: Problems,
) -> LaunchArgument:
    if not isinstance(value, YamlMapping):
        plain = _expanded(value, environ, problems)
        return LaunchArgument(Parameter(name, _kind_of_default(plain)), _text_of(plain))
    fields = Fields(value, owner, problems)
    fields.check_keys(ARGUMENT)
    given = fields.get("default")
    default = None if given is None else _expanded(given, environ, problems)
    least, most = (fields.parsed(key, parse_number) for key in ("min", "max"))
    choices = fields.parsed("choices", parse_choices)
    text = fields.string("help") or ""
    limits = [one for one in (least, most) if one is not None]
    if choices is not None:
        kind = kind_of_items(choices) or ParameterKind.TEXT
    elif limits:
        known = None if default is None else kind_of(parse_value(default))
        kind = ParameterKind.WHOLE if known is ParameterKind.WHOLE else ParameterKind.NUMBER
        if any(isinstance(one, float) for one in limits):
            kind = ParameterKind.NUMBER
    else:
        kind = ParameterKind.TEXT if default is None else _kind_of_default(default)
    if least is not None and most is not None and least > most:
        problems.add(fields.place_of("min"), f"{owner}: 'min' is more than 'max'")
        least = most = None
    form = Parameter(name, kind, None, least, most, choices, text)
    if default is not None:
        try:
            form.read(_text_of(default))
        except ParameterRefusedError as error:
            problems.add(fields.place_of("default"), f"'default' of {owner}: {error}")
    return LaunchArgument(form, None if default is None else _text_of(default))


def _expanded(
    value: YamlValue, environ: Mapping[str, str] | None, problems: Problems
) -> YamlScalar:
    if not isinstance(value, YamlScalar):
        raise MalformedError(
            f"expected a text, a number, true or false, got {describe(value)}",
            "a mapping says: {default: 0, min: 0, max: 9, choices: [...], help: ...}",
        )
    if value.kind is Kind.NULL and value.text:
        raise MalformedError("expected a text, a number, true or false, got nothing")
    if environ is None or is_nothing(value):
        return replace(value, kind=Kind.STRING) if is_nothing(value) else value
    root = YamlMapping(((value, value),), value.place)
    expanded = expand(root, environ, problems).entries[0][1]
    assert isinstance(expanded, YamlScalar), "it was one"
    return expanded


def _kind_of_default(default: YamlScalar) -> ParameterKind:
    # The environment says nothing of types: CAMERA=0 may be a number, and CAMERA=/dev/video0 not.
    return ParameterKind.TEXT if default.is_expanded else kind_of(parse_value(default))


def _text_of(default: YamlScalar) -> str:
    return default.text.lower() if default.kind is Kind.BOOLEAN else default.text


def _place_of(value: YamlValue | None, name: str, document: YamlMapping) -> Place:
    if isinstance(value, YamlMapping):
        for key, _ in value.entries:
            if key.text == name:
                return key.place
    return document.place
