"""`dora-rt completion`: what the Tab key offers in bash, zsh and fish, made from the parser."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from dora_rt.cli.verb import EXIT_OK, Verb

_DESCRIPTION = """\
Print the completion of this command for a shell: verbs, options, files, and the names of the
nodes and runs that there are."""

_EPILOG = """\
examples:
  source <(dora-rt completion bash)                                     in ~/.bashrc
  source <(dora-rt completion zsh)                                      in ~/.zshrc
  dora-rt completion fish > ~/.config/fish/completions/dora-rt.fish     once"""

_NAMES = "dora-rt ps -q 2>/dev/null"

_BASH = """\
_dora_rt() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} verb=${{COMP_WORDS[1]}} words=
    if [ "$COMP_CWORD" -eq 1 ]; then
        COMPREPLY=($(compgen -W "{verbs} --help --version" -- "$word"))
        return
    fi
    case $verb in
{cases}
    esac
    case $word in
        -*) ;;
        *) words=$free ;;
    esac
    COMPREPLY=($(compgen -W "$words" -- "$word"))
    if [ -z "${{COMPREPLY[*]}}" ] && [ -n "$files" ]; then
        compopt -o filenames 2>/dev/null
        COMPREPLY=($(compgen -f -- "$word"))
    fi
}}
complete -F _dora_rt dora-rt
"""


@dataclass(frozen=True, slots=True)
class _Words:
    """What can follow a verb; `names`: also nodes and runs, `files`: also files."""

    verb: str
    summary: str
    options: tuple[tuple[str, str], ...]
    choices: tuple[str, ...]
    has_names: bool
    has_files: bool


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=("bash", "zsh", "fish"), help="for which shell")


def _run(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    # The table of verbs has this one, too.
    from dora_rt.cli.dora_rt import VERBS

    write = {"bash": _bash, "zsh": _zsh, "fish": _fish}[options.shell]
    print(write([_words(name, verb) for name, verb in VERBS.items()]), end="")
    return EXIT_OK


def _words(name: str, verb: Verb) -> _Words:
    parser = argparse.ArgumentParser()
    verb.add_arguments(parser)
    actions = parser._actions
    positional = [action for action in actions if not action.option_strings]
    return _Words(
        verb=name,
        summary=verb.summary,
        options=tuple(
            (option, (action.help or "").replace("%%", "%"))
            for action in actions
            for option in action.option_strings
        ),
        choices=tuple(str(word) for action in positional for word in action.choices or ()),
        # By what the usage calls them.
        has_names=any(
            word in str(action.metavar) for action in actions for word in ("RUN", "NODE")
        ),
        has_files=any(action.type is Path for action in actions),
    )


def _bash(verbs: list[_Words]) -> str:
    cases = []
    for words in verbs:
        free = " ".join(words.choices)
        if words.has_names:
            free += f" $({_NAMES})"
        options = " ".join(option for option, _ in words.options)
        files = "yes" if words.has_files else ""
        cases.append(
            f'        {words.verb}) words="{options}" free="{free.strip()}" files={files} ;;'
        )
    text = _BASH.format(verbs=" ".join(words.verb for words in verbs), cases="\n".join(cases))
    return text.replace(" words=\n", " words= free= files=\n", 1)


def _zsh(verbs: list[_Words]) -> str:
    lines = ["#compdef dora-rt", "_dora_rt() {", "    local -a words_", "    if (( CURRENT == 2 ))"]
    lines[-1] += "; then"
    lines.append("        words_=(")
    lines += [f"            {_quote(f'{words.verb}:{words.summary}')}" for words in verbs]
    lines += ["        )", "        _describe 'verb' words_", "        return", "    fi"]
    lines.append("    case ${words[2]} in")
    for words in verbs:
        lines += [f"        {words.verb})", *_zsh_case(words), "            ;;"]
    return "\n".join([*lines, "    esac", "}", "compdef _dora_rt dora-rt", ""])


def _zsh_case(words: _Words) -> Iterator[str]:
    options = " ".join(_quote(f"{option}:{_plain(text)}") for option, text in words.options)
    yield f"            words_=({options})"
    yield "            _describe -o 'option' words_"
    if words.choices:
        yield f"            compadd -- {' '.join(words.choices)}"
    if words.has_names:
        yield f'            compadd -- ${{(f)"$({_NAMES})"}}'
    if words.has_files:
        yield "            _files"


def _fish(verbs: list[_Words]) -> str:
    lines = ["complete -c dora-rt -f"]
    for words in verbs:
        lines.append(
            f"complete -c dora-rt -n __fish_use_subcommand -a {words.verb} "
            f"-d {_quote(words.summary)}"
        )
        seen = f"complete -c dora-rt -n '__fish_seen_subcommand_from {words.verb}'"
        for option, text in words.options:
            form = f"-l {option[2:]}" if option.startswith("--") else f"-s {option[1:]}"
            lines.append(f"{seen} {form} -d {_quote(_plain(text))}")
        lines += [f"{seen} -a {choice}" for choice in words.choices]
        if words.has_names:
            lines.append(f"{seen} -a '({_NAMES})'")
        if words.has_files:
            lines.append(f"{seen} -F")
    return "\n".join([*lines, ""])


def _plain(text: str) -> str:
    return text.replace(":", "")


def _quote(text: str) -> str:
    return "'" + text.replace("'", "") + "'"


VERB = Verb("print the completion for a shell", _DESCRIPTION, _EPILOG, _add_arguments, _run)
