"""The embedded text: English prose about mathematics, statistics, graphs and databases, from open-source documentation.

``corpus.jsonl.xz`` holds the running text of the docstrings of seven packages that bitfront installs anyway, one document
per module; ``corpus_licenses.txt`` holds their licenses (BSD-3-Clause, SQLAlchemy MIT), which allow this use. The file's
bytes are fixed; `python -m workloads.llm.corpus` made it and says how. Documents, not sentences, are divided among the
splits, and a paragraph that stands in several documents was kept in the first one only, so that no split can be answered
from memory of another.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import inspect
import json
import lzma
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import distribution
from pathlib import Path
from typing import Final

CORPUS: Final = Path(__file__).with_name("corpus.jsonl.xz")
LICENSES: Final = Path(__file__).with_name("corpus_licenses.txt")

SHARES: Final[dict[str, float]] = {"train": 0.90, "validation": 0.02, "calibration": 0.03, "test": 0.05}
"""Share of the documents, by a hash of their names."""

_PACKAGES = {  # import name: distribution
    "numpy": "numpy",
    "scipy": "scipy",
    "sklearn": "scikit-learn",
    "pandas": "pandas",
    "networkx": "networkx",
    "sympy": "sympy",
    "sqlalchemy": "SQLAlchemy",
}
_FOREIGN = {"_lib", "_vendored", "externals", "_antlr"}  # folders with code of others, under licenses of their own
_MARKUP = (">>>", "...", "..", "=", "-", "~", "|", "+-")  # how lines of examples, tables and underlined titles begin
_SHORTEST = 80  # characters of a paragraph
_LETTERS = 0.93  # least share of letters, spaces and plain punctuation: what has less is a formula or a listing


@dataclass(frozen=True)
class Document:
    """The prose of one module; `source` is its path, `text` its paragraphs, one a line, ASCII."""

    source: str
    text: str

    @property
    def split(self) -> str:
        """The split that the document belongs to: a matter of its name alone."""
        place = int.from_bytes(hashlib.sha256(self.source.encode()).digest()[:8], "big") / 2**64
        for name, share in SHARES.items():
            if place < share:
                return name
            place -= share
        return "test"


@cache
def documents(split: str) -> tuple[Document, ...]:
    """The documents of a split, in the order of the file.

    Raises:
        ValueError: an unknown split.
    """
    if split not in SHARES:
        raise ValueError(f"split must be one of {', '.join(SHARES)}, but got {split!r}")
    return tuple(document for document in _read() if document.split == split)


def _read() -> Iterator[Document]:
    with lzma.open(CORPUS, "rt", encoding="ascii") as lines:
        for line in lines:
            yield Document(**json.loads(line))


def prose(docstring: str) -> list[str]:
    """The running text of a docstring, paragraph by paragraph, each on one line; no example, listing, table or title."""
    found = []
    for block in re.split(r"\n\s*\n", inspect.cleandoc(docstring)):
        lines = [line.strip() for line in block.splitlines()]
        text = " ".join(" ".join(lines).split())
        letters = sum(c.isalpha() or c in " ,.'" for c in text)
        is_markup = any(line.startswith(_MARKUP) for line in lines)
        if not is_markup and text.isascii() and len(text) >= _SHORTEST and letters >= _LETTERS * len(text):
            found.append(text)
    return found


def collect() -> Iterator[Document]:
    """The documents of the packages as they are installed here: tests and foreign code left out, no paragraph twice."""
    seen: set[str] = set()
    for package in _PACKAGES:
        spec = importlib.util.find_spec(package)
        assert spec is not None
        assert spec.origin is not None
        root = Path(spec.origin).parent
        for path in sorted(root.rglob("*.py")):
            inside = path.relative_to(root)
            if _FOREIGN & set(inside.parts) or "test" in inside.as_posix():
                continue
            fresh = [p for p in _paragraphs(path) if p not in seen and not seen.add(p)]  # type: ignore[func-returns-value]
            if fresh:
                yield Document(f"{package}/{inside.as_posix()}", "\n".join(fresh))


def _paragraphs(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from prose(ast.get_docstring(node, clean=False) or "")


def license_of(name: str) -> str:
    """The license of a distribution's own text; what its file adds about bundled binaries, behind a rule, is left out."""
    package = distribution(name)
    (file,) = [
        f
        for f in package.files or ()
        if f.name in ("LICENSE", "LICENSE.txt", "COPYING")
        and f.parent.name in ("licenses", f"{package.name}-{package.version}.dist-info")
    ]
    text = file.read_text(encoding="utf-8")
    return text if name == "sympy" else re.split(r"^-{4,}$", text, maxsplit=1, flags=re.MULTILINE)[0].strip()


def main() -> int:
    """Write the corpus and its licenses from the packages installed here; return the exit status."""
    lines = [json.dumps({"source": d.source, "text": d.text}) + "\n" for d in collect()]
    CORPUS.write_bytes(lzma.compress("".join(lines).encode("ascii"), preset=9 | lzma.PRESET_EXTREME))
    head = "corpus.jsonl.xz holds text from the documentation of these packages, under these licenses.\n"
    parts = [f"{name} {distribution(name).version}\n\n{license_of(name)}\n" for name in _PACKAGES.values()]
    LICENSES.write_text(f"\n{'=' * 80}\n".join([head, *parts]), encoding="utf-8")
    sizes = {name: sum(len(d.text) for d in documents(name)) for name in SHARES}
    print(f"{len(lines)} documents, characters per split: {sizes}: {CORPUS}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
