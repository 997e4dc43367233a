"""Build the compiled cores where that is possible, and fit the README for a package index.

Without the cores everything works, more slowly. An index knows no relative links. All else about
the package is in setup.cfg.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import sysconfig
from configparser import ConfigParser
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

try:
    from setuptools.command.bdist_wheel import bdist_wheel
except ImportError:  # before setuptools 70.1, to which pip then adds it
    try:
        from wheel.bdist_wheel import bdist_wheel
    except ImportError:
        bdist_wheel = None

HERE = Path(__file__).parent
SOURCE = "dora_rt/compiled/_cores.pyx"
_LEFT_OUT = "dora_rt: the compiled hot path is left out, and all works in pure Python: {}"


class OptionalBuild(build_ext):
    """Does without what cannot be built, and says so in one line."""

    def run(self) -> None:
        """Build, or leave it."""
        try:
            super().run()
        except Exception as error:
            self._leave_out(error)

    def build_extension(self, ext: Extension) -> None:
        """Build one, with the headers of numpy, or leave it."""
        try:
            import numpy
            from Cython.Build import cythonize

            ext.include_dirs.append(numpy.get_include())
            # The generated C goes where all that is built goes.
            (ready,) = cythonize([ext], build_dir=self.build_temp, quiet=True)
            ready._needs_stub = False
            super().build_extension(ready)
        except (Exception, SystemExit) as error:
            self._leave_out(error)

    def get_outputs(self) -> list[str]:
        """Return what was really built."""
        return [path for path in super().get_outputs() if Path(path).exists()]

    def copy_extensions_to_source(self) -> None:
        """For an editable install, likewise."""
        names = [self.get_ext_filename(one.name) for one in self.extensions]
        if all((Path(self.build_lib) / name).exists() for name in names):
            super().copy_extensions_to_source()

    def _leave_out(self, error: BaseException) -> None:
        self.distribution.is_left_out = True
        reason = str(error).strip().splitlines() or [type(error).__name__]
        sys.stderr.write(_LEFT_OUT.format(reason[-1][:160]) + "\n")


if bdist_wheel is not None:

    class HonestWheel(bdist_wheel):
        """Is for any machine if nothing was compiled: installers look at its name alone."""

        def get_tag(self) -> tuple[str, str, str]:
            """Return Python, interface and platform that it is for; the last step asks for it."""
            if getattr(self.distribution, "is_left_out", False):
                self.root_is_pure = True
            tag: tuple[str, str, str] = super().get_tag()
            return tag


def find_extensions() -> list[Extension]:
    """Return what is to be compiled: nothing where the GIL, on which the cores rely, is not."""
    if os.environ.get("DORA_RT_PURE", "0") not in ("", "0"):
        return []
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        sys.stderr.write(_LEFT_OUT.format("this Python has no GIL") + "\n")
        return []
    compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]
    if shutil.which(compiler) is None:
        sys.stderr.write(_LEFT_OUT.format(f"there is no {compiler}") + "\n")
        return []
    macros = [("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION"), ("_GNU_SOURCE", "1")]
    return [
        Extension(
            "dora_rt.compiled._cores",
            [SOURCE],
            define_macros=macros,
            extra_compile_args=["-O2", "-g0"],
            libraries=["pthread", "dl"],
        )
    ]


def index_page(readme: str, home: str) -> str:
    """Return a README whose links lead to the repository at `home`, and its pictures too."""

    def absolute(found: re.Match[str]) -> str:
        is_picture, text, link = found.groups()
        if re.match(r"[a-z]+:|#", link):
            return found[0]
        return f"{is_picture}[{text}]({home}/{'raw' if is_picture else 'blob'}/main/{link})"

    return re.sub(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)", absolute, readme)


def home_of(config: ConfigParser) -> str:
    """Return the address of the repository, which setup.cfg has once."""
    return config["metadata"]["url"].rstrip("/")


if __name__ == "__main__":
    setup_cfg = ConfigParser()
    setup_cfg.read(HERE / "setup.cfg")
    readme = (HERE / "README.md").read_text(encoding="utf-8")
    extensions = find_extensions()
    setup(
        long_description=index_page(readme, home_of(setup_cfg)),
        long_description_content_type="text/markdown",
        ext_modules=extensions,
        cmdclass={
            "build_ext": OptionalBuild,
            **({} if bdist_wheel is None else {"bdist_wheel": HonestWheel}),
        },
        # Not in pyproject.toml, so that who compiles nothing need not fetch them.
        setup_requires=["cython>=3", "numpy>=2"] if extensions else [],
    )
