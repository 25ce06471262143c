"""What a run found, as a table and as JSON."""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from msgspec.structs import asdict

from interop.differential.pair import Finding, Tally

EXAMPLES = 3


def table(tally: Tally) -> str:
    """One line for each API and version."""
    lines = [f"{'API':<28}{'version':>8}{'requests':>10}{'wrong':>8}{'equal':>8}{'different':>11}"]
    for api, version in sorted(tally.asked):
        row = (api, version)
        asked, different = tally.asked[row], tally.different[row]
        lines.append(
            f"{api:<28}{version:>8}{asked:>10}{tally.wrong[row]:>8}{asked - different:>8}{different:>11}"
        )
    wrong, different = tally.wrong.total(), tally.different.total()
    lines.append(f"{'all':<28}{'':>8}{tally.total:>10}{wrong:>8}{tally.total - different:>8}{different:>11}")
    return "\n".join(lines)


def details(tally: Tally) -> str:
    """The differences, those of one kind together, each kind with a few examples."""
    kinds: dict[tuple[str, ...], list[Finding]] = defaultdict(list)
    for finding in tally.findings:
        shown = tuple(
            f"{field.pattern}: {_short(field.apache)} | {_short(field.pybroker)}"
            for field in finding.fields[:4]
        )
        kinds[finding.api, *shown].append(finding)
    blocks = []
    for kind, findings in kinds.items():
        lines = [
            f"{kind[0]}: {len(findings)} requests (apache | pybroker)",
            *(f"    {field}" for field in kind[1:]),
        ]
        lines += [
            f"  {finding.scenario}, v{finding.version}, {finding.label}\n      {finding.request[:400]}"
            for finding in findings[:EXAMPLES]
        ]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def reasons(tally: Tally) -> str:
    return "\n".join(f"{count:>6}  {reason}" for reason, count in tally.allowed.most_common())


def write_json(tally: Tally, path: Path) -> None:
    """Everything: rows, allowed differences with their counts, findings with both replies."""
    rows = [
        {
            "api": api,
            "version": version,
            "requests": tally.asked[api, version],
            "wrong": tally.wrong[api, version],
            "different": tally.different[api, version],
        }
        for api, version in sorted(tally.asked)
    ]
    data: dict[str, Any] = {
        "requests": tally.total,
        "rows": rows,
        "allowed": dict(tally.allowed),
        "findings": [
            {**asdict(finding), "fields": [asdict(field) for field in finding.fields]}
            for finding in tally.findings
        ],
    }
    path.write_text(json.dumps(data, indent=1, default=str) + "\n", encoding="utf-8")


def _short(value: Any) -> str:
    text = json.dumps(value, default=str) if not isinstance(value, str) else value
    return text if len(text) <= 160 else f"{text[:157]}..."
