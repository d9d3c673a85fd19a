"""What of a QONNX file FINN would stumble over, found without FINN: node, rule and mend of each."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from dse.finn.rules import RULES
from dse.finn.view import View
from dse.onnx_reader.graph import load_graph


@dataclass(frozen=True)
class Finding:
    """A rule that a node breaks; `given` is what it has instead, `advice` whether FINN works all the same."""

    node: str
    rule: str
    must: str
    given: str
    mend: str
    advice: bool

    def __str__(self) -> str:
        return f"{self.node}: {self.must}, but {self.given}; {self.mend}."


@dataclass(frozen=True)
class Preflight:
    """Everything found in one file."""

    file: str
    findings: tuple[Finding, ...]

    @property
    def passes(self) -> bool:
        """Whether FINN takes the network; advice does not count."""
        return all(finding.advice for finding in self.findings)

    def as_dict(self) -> dict[str, object]:
        """Ready for JSON."""
        return {
            "file": self.file,
            "passes": self.passes,
            "rules": len(RULES),
            "findings": [asdict(finding) for finding in self.findings],
        }

    def text(self) -> str:
        """For people."""
        broken = [f"  {finding.rule}: {finding}" for finding in self.findings if not finding.advice]
        advice = [f"  {finding.rule}: {finding}" for finding in self.findings if finding.advice]
        verdict = "FINN takes it" if self.passes else f"FINN would not take it, {len(broken)} findings"
        lines = [f"{self.file}: {verdict} ({len(RULES)} rules)", *broken]
        return "\n".join([*lines, "advice:", *advice] if advice else lines)


def preflight(path: Path) -> Preflight:
    """Check a file against every rule of :data:`dse.finn.rules.RULES`.

    Raises:
        OnnxReadError: it is no ONNX file of one network with one input of a fixed size.
    """
    view = View(load_graph(path))
    findings = tuple(
        Finding(str(where), rule.name, rule.must, given, rule.mend, rule.advice)
        for rule in RULES
        for where, given in rule.check(view)
    )
    return Preflight(str(path), findings)
