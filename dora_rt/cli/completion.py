"""`dora-rt completion`: prints what the Tab key offers in bash, made from the parsers."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from dora_rt.cli.verb import Verb
from dora_rt.exit_codes import EXIT_OK

_DESCRIPTION = """\
Print the completion of this command for bash: verbs, options, files, and the runs, nodes and
outputs that there are."""

_EPILOG = """\
example:
  source <(dora-rt completion bash)    in ~/.bashrc"""

_NAMES = "dora-rt ps -q 2>/dev/null"
_OUTPUTS = "dora-rt ps --outputs 2>/dev/null"

_BASH = """\
_dora_rt() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} verb=${{COMP_WORDS[1]}} words= free= files=
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


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=("bash",), help="the shell")


def _run(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    # The table of verbs has this one, too.
    from dora_rt.cli.dora_rt import VERBS, load_verb

    cases = "\n".join(_case(name, load_verb(name)) for name in VERBS)
    print(_BASH.format(verbs=" ".join(VERBS), cases=cases), end="")
    return EXIT_OK


def _case(name: str, verb: Verb) -> str:
    """Return the branch for one verb: its options, and what else can follow it."""
    parser = argparse.ArgumentParser()
    verb.add_arguments(parser)
    actions = parser._actions
    options = " ".join(option for action in actions for option in action.option_strings)
    free = [
        str(word)
        for action in actions
        if not action.option_strings
        for word in action.choices or ()
    ]
    # By what the usage calls them.
    called = {
        word
        for action in actions
        if not action.option_strings and action.type is not Path
        for word in str(action.metavar).split("|")
    }
    if called & {"[RUN/]NODE/OUTPUT", "NAME"}:
        free.append(f"$({_OUTPUTS})")
    if called & {"RUN", "NODE", "NAME"}:
        free.append(f"$({_NAMES})")
    files = "yes" if any(action.type is Path for action in actions) else ""
    return f'        {name}) words="{options}" free="{" ".join(free)}" files={files} ;;'


VERB = Verb(_DESCRIPTION, _EPILOG, _add_arguments, _run)
