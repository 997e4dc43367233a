"""Ask a web service about pictures or arrays, and send its answers: VLMs and remote models."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Mapping, Sequence

from dora_rt.errors import DoraRtError

from ..options import NodeParser, add_option, file_path, number, one_of, whole_number
from ..used_ports import wired
from .answers import AnswerReader
from .asker import Asker, Patience
from .loop import ANSWER_OUTPUT, Occasion, Plan, answer_into, run
from .request_forms import ANSWER_PATHS, Form, RequestForm
from .web_client import Address, AddressError, WebClient

__all__ = ["main", "parse_options"]

logger = logging.getLogger(__name__)

_EPILOG = """\
inputs:
  prompt      a text that replaces --prompt
  any other   a picture, an array, or a text: what the service is asked about, mostly `image`
output:
  answer      text or JSON as bytes, numbers as a float32 array, a file as its bytes

Only the newest sample is asked about. A service that is away, busy or broken is tried again, after
0.5 s at first and 30 s at last. Secrets come from variables that you name, and are in no log.

examples:
  --url http://127.0.0.1:8000/detect --answer boxes      a model of your own, that answers JSON
  --url https://api.openai.com/v1/chat/completions --form openai --model gpt-4o-mini
      --token-env OPENAI_API_KEY --prompt "What is in the picture?" --rate 0.2
  --url http://127.0.0.1:11434/api/generate --form ollama --model llava --prompt "Is the door open?"
  --url http://127.0.0.1:8080/v2/models/m/infer --body request.json --answer outputs.0.data

request.json, with $PICTURE_BASE64, $PICTURE_URL, $VALUES, $FLAT_VALUES, $SHAPE, $TEXT, $PROMPT and
$MODEL in their places:
  {"inputs": [{"name": "x", "datatype": "FP32", "shape": "$SHAPE", "data": "$FLAT_VALUES"}]}
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the node until its inputs or the dataflow end; return the exit status."""
    options = parse_options(argv, os.environ)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    from dora_rt import Node

    try:
        with Node() as node:
            wired(node, reads=None, sends=(ANSWER_OUTPUT,), needs_any=True)
            asker = Asker(
                make_client(options),
                options.method,
                options.request_form,
                options.answer_reader,
                Patience(options.rate, options.retries),
                answer_into(node),
            )
            # As long as a request may take; a stop of the flow ends it before.
            plan = Plan(options.prompt, Occasion(options.ask_for), options.timeout + 1)
            run(node, asker, plan)
    except DoraRtError as error:
        logger.error("%s", error)
        return 1
    return 0


def make_client(options: argparse.Namespace) -> WebClient:
    """Return the client that the options ask for."""
    address: Address = options.url
    has_secret = bool(options.secrets) and address.scheme == "http"
    if has_secret and not address.is_on_this_machine:
        logger.warning("%s: the secrets travel unencrypted; https hides them", address.shown)
    return WebClient(
        options.url,
        options.headers,
        timeout_s=options.timeout,
        max_answer_nbytes=options.max_answer,
        ca_file=options.ca_file,
    )


def parse_options(argv: Sequence[str] | None, environ: Mapping[str, str]) -> argparse.Namespace:
    """Read the options: from the command line, else `env:` of the file, else outside."""
    parser = NodeParser("http", __doc__, _EPILOG)
    add_option(parser, environ, "--url", str, None, "address of the service; needed")
    add_option(parser, environ, "--method", _method, "POST", "of HTTP: POST, PUT, PATCH")
    forms = one_of(*(form.value for form in Form))
    text = "body: auto (JPEG for pictures, else JSON), " + ", ".join(
        form.value for form in Form if form is not Form.AUTO
    )
    add_option(parser, environ, "--form", forms, Form.AUTO.value, text)
    add_option(parser, environ, "--body", _template, None, "file with a JSON body of your own")
    text = "name of the file in the form multipart"
    add_option(parser, environ, "--field", _field, "file", text)
    add_option(parser, environ, "--model", str, "", "name of the model, for openai and ollama")
    add_option(parser, environ, "--prompt", str, "", "what is asked")
    text = "when: sample, for each one as it comes; prompt, for each prompt about the newest sample"
    add_option(parser, environ, "--ask-for", one_of("sample", "prompt"), "sample", text)
    text = "where the value is in an answer in JSON, such as outputs.0.data"
    add_option(parser, environ, "--answer", str, None, text)
    text = "pixels; a picture whose longer side has more is made smaller, 0: never"
    add_option(parser, environ, "--longest-side", whole_number(0, 65500), 0, text)
    add_option(parser, environ, "--quality", whole_number(1, 100), 85, "of JPEG files")
    text = "seconds for a request and its answer"
    add_option(parser, environ, "--timeout", number(0.05, 3600), 30.0, text)
    text = "questions a second at most"
    add_option(parser, environ, "--rate", number(0.0001, 1000), 10.0, text)
    text = "how often a question that failed is asked again while there is no newer one"
    add_option(parser, environ, "--retries", whole_number(0, 1000), 3, text)
    text = "bytes that an answer may have"
    add_option(parser, environ, "--max-answer", whole_number(1, 1 << 30), 1 << 24, text)
    add_option(parser, environ, "--ca-file", _file, None, "certificates to trust as well (.pem)")
    parser.add_argument(
        "--token-env",
        metavar="NAME",
        help="the variable with the token that is sent as `Authorization: Bearer ...`",
    )
    parser.add_argument(
        "--header",
        action="append",
        default=[],
        metavar="HEADER",
        help="a further header, such as 'X-Camera: front'; may be repeated",
    )
    parser.add_argument(
        "--header-env",
        action="append",
        default=[],
        metavar="HEADER",
        help="a header and the variable with its value, such as 'X-Api-Key: MY_KEY'",
    )
    options = parser.parse_args(argv)
    if options.url is None:
        parser.error("--url is needed, such as --url http://127.0.0.1:8000/detect")
    try:
        # Here and not as its type: the message about a wrong value shows it, with its password.
        options.url = Address.parse(options.url)
    except AddressError as error:
        parser.error(f"--url: {error}")
    options.secrets = _add_headers(parser, options, environ)
    form = Form(options.form)
    if form in ANSWER_PATHS and not options.model:
        parser.error(f"--form {form.value} needs --model NAME")
    path = options.answer if options.answer is not None else ANSWER_PATHS.get(form, "")
    options.answer_reader = AnswerReader(path, options.secrets)
    options.request_form = RequestForm(
        form, options.quality, options.longest_side, options.model, options.field, options.body
    )
    return options


def _add_headers(
    parser: argparse.ArgumentParser, options: argparse.Namespace, environ: Mapping[str, str]
) -> tuple[str, ...]:
    """Put the headers into the options; return those values that no log may have."""
    options.headers = {}
    for header in options.header:
        name, value = _split_header(parser, "--header", header)
        options.headers[name] = value
    secret_headers = [
        (*_split_header(parser, "--header-env", one), "") for one in options.header_env
    ]
    if options.token_env is not None:
        secret_headers.append(("Authorization", options.token_env, "Bearer "))
    secrets = []
    for name, variable, prefix in secret_headers:
        value = environ.get(variable, "").strip()
        if not value:
            parser.error(
                f"the variable {variable} is not set, which has the secret for {name}; set it "
                "outside of the dataflow file, in the shell or the service that runs it"
            )
        if not (value.isascii() and value.isprintable()):
            parser.error(f"the variable {variable} has letters that no header may have")
        options.headers[name] = f"{prefix}{value}"
        secrets.append(value)
    # The longest first: a shorter one may be a part of it.
    return tuple(sorted((*secrets, *options.url.secrets), key=len, reverse=True))


def _split_header(parser: argparse.ArgumentParser, flag: str, text: str) -> tuple[str, str]:
    name, colon, value = (part.strip() for part in text.partition(":"))
    is_name = name.isascii() and name.replace("-", "").replace("_", "").isalnum()
    if not (colon and is_name and value.isascii() and value.isprintable()):
        # Not the text itself: it may have a secret that stands in the wrong place.
        parser.error(f"{flag} is no header such as 'X-Camera: front'")
    return name, value


def _method(text: str) -> str:
    return one_of("post", "put", "patch")(text).upper()


def _field(text: str) -> str:
    if not text.isascii() or not text.isprintable() or '"' in text:
        raise argparse.ArgumentTypeError(f"{text!r} is no name for a field of a form")
    return text


def _file(text: str) -> str:
    path = file_path(text)
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"there is no file '{text}'")
    return str(path)


def _template(text: str) -> str:
    try:
        template = file_path(text).read_text(encoding="utf-8-sig")
        json.loads(template)
    except (OSError, ValueError, RecursionError) as error:
        raise argparse.ArgumentTypeError(f"cannot read '{text}' as JSON: {error}") from error
    return template
