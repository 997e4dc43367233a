"""Write a graph as text for other programs: Mermaid (GitHub, GitLab, ...) and DOT (Graphviz)."""

from __future__ import annotations

from dora_rt.graph.boxes_and_arrows import Box, Graph


def render_mermaid(graph: Graph) -> str:
    """Return the graph as a Mermaid flowchart."""
    numbers = {box.id: number for number, box in enumerate(graph.boxes)}
    lines = [f"%% {_one_line(graph.title)}", "flowchart LR"]
    for position, (machine, boxes) in enumerate(_by_machine(graph)):
        drawn = [f'    n{numbers[box.id]}["{_mermaid(_box_text(box))}"]' for box in boxes]
        if machine is not None:
            drawn = [f'    subgraph m{position}["{_mermaid(machine)}"]', *drawn, "    end"]
        lines += drawn
    for arrow in graph.arrows:
        line = "-.->" if arrow.is_local else "-->"
        label = _mermaid(f"{arrow.name}\n{arrow.note}")
        start, end = numbers[arrow.source_box], numbers[arrow.target_box]
        lines.append(f'    n{start} {line}|"{label}"| n{end}')
    return "\n".join(lines) + "\n"


def render_dot(graph: Graph) -> str:
    """Return the graph in the language of Graphviz."""
    lines = [
        f"digraph {_dot(graph.title)} {{",
        "    rankdir=LR",
        '    node [shape=box style=rounded fontname="sans-serif"]',
        '    edge [fontname="sans-serif" fontsize=11]',
    ]
    for position, (machine, boxes) in enumerate(_by_machine(graph)):
        drawn = [f"    {_dot(box.id)} [label={_dot(_box_text(box))}]" for box in boxes]
        if machine is not None:
            title = f"    subgraph cluster_{position} {{ label={_dot(machine)}"
            drawn = [title, *drawn, "    }"]
        lines += drawn
    for arrow in graph.arrows:
        style = " style=dashed" if arrow.is_local else ""
        label = _dot(f"{arrow.name}\n{arrow.note}")
        lines.append(
            f"    {_dot(arrow.source_box)} -> {_dot(arrow.target_box)} [label={label}{style}]"
        )
    return "\n".join([*lines, "}\n"])


def _by_machine(graph: Graph) -> list[tuple[str | None, list[Box]]]:
    """Return the boxes of each machine; of a dataflow with one, all of them under None."""
    groups: dict[str | None, list[Box]] = {}
    for box in graph.boxes:
        groups.setdefault(box.machine, []).append(box)
    return list(groups.items())


def _box_text(box: Box) -> str:
    state = () if box.state is None else (box.state.value,)
    return "\n".join((box.id, *state, *box.notes))


def _mermaid(text: str) -> str:
    # It knows entities by number only, and a bare # would begin one.
    escaped = "".join(
        f"#{ord(character)};" if character in '#"<>&`[]{}|' else character for character in text
    )
    return escaped.replace("\n", "<br>")


def _dot(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _one_line(text: str) -> str:
    return " ".join(text.split())
