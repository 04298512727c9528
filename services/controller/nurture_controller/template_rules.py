"""Which templates are allowed, decided on their syntax tree before anything runs."""

import re
from collections.abc import Iterator
from difflib import get_close_matches
from typing import NamedTuple

from jinja2 import TemplateError, TemplateSyntaxError, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from nurture_controller.sequence import Severity
from nurture_controller.template_language import FILTERS, LOOP_FIELDS, TESTS

SCALARS = frozenset({"user_name", "first_name", "dashboard_url", "telegram_url"})
USER_FIELDS = frozenset({"first_name", "locale", "timezone", "attributes"})
SEQUENCE_FIELDS = frozenset({"type", "title", "step"})
ROOTS = SCALARS | {"user", "context", "sequence"}
LAYOUT_ONLY = frozenset({"message_content", "unsubscribe_url", "tracking_url"})
DEEPEST = 40

_PLAIN = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.Const, nodes.If, nodes.CondExpr, nodes.Compare, nodes.Operand,
    nodes.And, nodes.Or, nodes.Not, nodes.List, nodes.Tuple, nodes.Keyword, nodes.Concat, nodes.Add, nodes.Sub, nodes.Div,
    nodes.FloorDiv, nodes.Neg, nodes.Pos,
)  # fmt: skip
_WORDS: dict[type[nodes.Node], str] = {
    nodes.Call: "a call",
    nodes.Mul: "`*`",
    nodes.Pow: "`**`",
    nodes.Mod: "`%`",
    nodes.Assign: "`set`",
    nodes.AssignBlock: "`set`",
    nodes.Macro: "a macro",
    nodes.CallBlock: "a call block",
    nodes.FilterBlock: "a filter block",
    nodes.Import: "`import`",
    nodes.FromImport: "`import`",
    nodes.Include: "`include`",
    nodes.Extends: "`extends`",
    nodes.Block: "`block`",
    nodes.Slice: "a slice",
    nodes.Dict: "a dictionary",
    nodes.With: "`with`",
}
_ALLOWED_HINT = "conditions, loops over a list, and the filters " + ", ".join(sorted(FILTERS)) + " are what there is"
_BRACES = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]{0,63})\}")
_IN_LINK = re.compile(r"\]\([^)\s]+\Z")
_HTML = re.compile(
    r"</?(?:a|b|br|p|i|u|em|strong|div|span|img|table|tr|td|ul|ol|li|h[1-6]|font|center)\b[^>]*>", re.IGNORECASE
)


class Remark(NamedTuple):
    """What is wrong with a template, by line; `sequence.Finding` without the place in the sequence."""

    line: int
    problem: str
    hint: str
    severity: Severity = "error"


class _Seen(NamedTuple):
    node: nodes.Node
    depth: int
    loops: tuple[str, ...]
    guarded: frozenset[str]


def remarks(source: str, environment: ImmutableSandboxedEnvironment) -> list[Remark]:
    """Everything that is wrong with one template, or may go wrong for some people."""
    try:
        tree = environment.parse(source)
    except TemplateSyntaxError as wrong:
        return [Remark(wrong.lineno, f"not a valid template: {wrong.message}", "print a value with `{{ user_name }}`")]
    except (TemplateError, RecursionError, MemoryError, ValueError, OverflowError) as wrong:
        return [Remark(1, f"cannot be read as a template ({type(wrong).__name__})", "make it simpler")]
    found = list(_walk(tree))
    if not any(remark.severity == "error" for remark in found):
        found += _compiles(tree, environment)
    return sorted(dict.fromkeys(found))


def paths(source: str, environment: ImmutableSandboxedEnvironment) -> frozenset[str]:
    """The dotted names that an allowed template asks for."""
    tree = environment.parse(source)
    return frozenset(
        path for node in tree.find_all((nodes.Name, nodes.Getattr, nodes.Getitem)) if (path := _path(node))
    )


def _compiles(tree: nodes.Template, environment: ImmutableSandboxedEnvironment) -> Iterator[Remark]:
    try:
        environment.compile(tree)
    except (TemplateError, SyntaxError, RecursionError, MemoryError, ValueError, OverflowError) as wrong:
        yield Remark(1, f"cannot be compiled ({type(wrong).__name__})", "make it simpler")


def _walk(tree: nodes.Template) -> Iterator[Remark]:
    # A stack of our own: the author decides how deep the tree is.
    stack = [_Seen(tree, 0, (), frozenset())]
    while stack:
        seen = stack.pop()
        node = seen.node
        if seen.depth > DEEPEST:
            yield Remark(node.lineno, "nested too deeply", "make it simpler")
            return
        yield from _remarks_on(seen)
        stack.extend(_inside(seen))


def _remarks_on(seen: _Seen) -> Iterator[Remark]:
    node = seen.node
    if isinstance(node, nodes.Name | nodes.Getattr | nodes.Getitem):
        yield from _of_value(node, seen)
    elif isinstance(node, nodes.For):
        yield from _of_loop(node, seen)
    elif isinstance(node, nodes.Filter):
        yield from _of_named(node, "filter", FILTERS)
    elif isinstance(node, nodes.Test):
        yield from _of_named(node, "test", TESTS)
    elif isinstance(node, nodes.Output):
        yield from _of_output(node, seen)
    elif not isinstance(node, _PLAIN):
        word = _WORDS.get(type(node), f"`{type(node).__name__.lower()}`")
        yield Remark(node.lineno, f"{word} is not allowed in a template", _ALLOWED_HINT)


def _inside(seen: _Seen) -> Iterator[_Seen]:
    node, depth, loops, guarded = seen.node, seen.depth + 1, seen.loops, seen.guarded
    if isinstance(node, nodes.Name | nodes.Getattr | nodes.Getitem):
        if not _path(node):
            yield from (_Seen(child, depth, loops, guarded) for child in node.iter_child_nodes())
    elif isinstance(node, nodes.For):
        yield _Seen(node.iter, depth, loops, guarded)
        target = node.target.name if isinstance(node.target, nodes.Name) else ""
        for child in node.iter_child_nodes(exclude=("iter", "target")):
            yield _Seen(child, depth, (*loops, target), guarded)
    elif isinstance(node, nodes.If | nodes.CondExpr):
        asked = guarded | {path for path in map(_path, _all(node.test)) if path}
        yield from (_Seen(child, depth, loops, asked) for child in node.iter_child_nodes())
    elif isinstance(node, nodes.Filter) and node.name in ("default", "d") and node.node is not None:
        yield _Seen(node.node, depth, loops, guarded | {_path(node.node) or ""})
        yield from (_Seen(child, depth, loops, guarded) for child in (*node.args, *node.kwargs))
    else:
        yield from (_Seen(child, depth, loops, guarded) for child in node.iter_child_nodes())


def _of_value(node: nodes.Expr, seen: _Seen) -> Iterator[Remark]:
    path = _path(node)
    if not path:
        problem = "a value is looked up in something that is no name"
        yield Remark(node.lineno, problem, "write a path such as `user.attributes.plan`")
        return
    root, *rest = path.split(".")
    if any(part.startswith("_") for part in (root, *rest)):
        yield Remark(node.lineno, f"`{path}` is not allowed in a template", "names do not begin with an underscore")
    elif root in seen.loops:
        return
    elif root == "loop" and seen.loops:
        if len(rest) != 1 or rest[0] not in LOOP_FIELDS:
            hint = "known: " + ", ".join(f"loop.{field}" for field in sorted(LOOP_FIELDS))
            yield Remark(node.lineno, f"unknown variable `{path}`", hint)
    elif root not in ROOTS:
        yield _unknown(node.lineno, root)
    elif root in SCALARS and rest:
        yield Remark(node.lineno, f"`{root}` has no `{rest[0]}`", f"`{root}` is a text")
    elif root in ("user", "sequence"):
        yield from _of_group(node.lineno, root, rest)


def _of_group(line: int, root: str, rest: list[str]) -> Iterator[Remark]:
    fields = USER_FIELDS if root == "user" else SEQUENCE_FIELDS
    known = "known: " + ", ".join(f"{root}.{field}" for field in sorted(fields))
    if not rest:
        yield Remark(line, f"`{root}` is a group of values", known)
    elif rest[0] not in fields:
        hint = f"did you mean `user.attributes.{rest[0]}`? {known}" if root == "user" else known
        yield Remark(line, f"unknown variable `{root}.{rest[0]}`", hint)


def _of_loop(node: nodes.For, seen: _Seen) -> Iterator[Remark]:
    if not isinstance(node.target, nodes.Name) or node.recursive:
        yield Remark(node.lineno, "only plain loops are allowed", "write `{% for item in context.items %}`")
    over = _path(node.iter)
    if not over:
        yield Remark(
            node.lineno, "a loop runs over something that is no name", "loop over a list such as `context.items`"
        )
    elif seen.loops and over.split(".")[0] != seen.loops[-1]:
        # Otherwise two long lists would make a job of their product.
        yield Remark(node.lineno, "an inner loop runs over another list", "loop over a part of the outer loop's item")


def _of_named(node: nodes.Filter | nodes.Test, what: str, known: dict) -> Iterator[Remark]:
    if node.name not in known:
        near = get_close_matches(node.name, list(known), 1)
        hint = f"did you mean `{near[0]}`?" if near else f"known: {', '.join(sorted(known))}"
        yield Remark(node.lineno, f"unknown {what} `{node.name}`", hint)
    if node.dyn_args is not None or node.dyn_kwargs is not None:
        yield Remark(node.lineno, f"a {what} takes its arguments one by one", "leave out `*` and `**`")


def _of_output(node: nodes.Output, seen: _Seen) -> Iterator[Remark]:
    before = ""
    for child in node.nodes:
        if isinstance(child, nodes.TemplateData):
            yield from _of_text(child)
            before = child.data
            continue
        path = _path(child)
        open_ended = path is not None and path.startswith(("user.attributes.", "context."))
        if open_ended and path not in seen.guarded:
            hint = f'write `{{{{ {path} | default("…") }}}}`'
            yield Remark(child.lineno, f"fails for people without `{path}`", hint, "warning")
        coded = path in ("dashboard_url", "telegram_url") or (
            isinstance(child, nodes.Filter) and child.name == "urlencode"
        )
        if _IN_LINK.search(before) and not coded:
            yield Remark(child.lineno, "a value inside a link address is not encoded", "add `| urlencode`", "warning")
        before = ""


def _of_text(node: nodes.TemplateData) -> Iterator[Remark]:
    for match in _BRACES.finditer(node.data):
        line = node.lineno + node.data.count("\n", 0, match.start())
        remark = _unknown(line, match[1])
        literal = f'; to print the braces write `{{{{ "{match[0]}" }}}}`'
        yield remark._replace(problem=f"unknown placeholder `{match[0]}`", hint=remark.hint + literal)
    match = _HTML.search(node.data)
    if match:
        line = node.lineno + node.data.count("\n", 0, match.start())
        yield Remark(line, f"`{match[0][:40]}` would be shown as it is", "write Markdown instead of HTML", "warning")


def _unknown(line: int, name: str) -> Remark:
    problem = f"unknown variable `{name}`"
    if name in LAYOUT_ONLY:
        return Remark(line, problem, "leave it out: the email's layout adds it")
    near = get_close_matches(name, sorted(ROOTS), 1)
    known = f"known: {', '.join(sorted(ROOTS))}"
    return Remark(line, problem, f"did you mean `{near[0]}`? {known}" if near else known)


def _path(node: nodes.Node) -> str | None:
    parts: list[str] = []
    while isinstance(node, nodes.Getattr | nodes.Getitem):
        if isinstance(node, nodes.Getattr):
            parts.append(node.attr)
        elif isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, str | int):
            parts.append(str(node.arg.value))
        else:
            return None
        node = node.node
    return ".".join([node.name, *reversed(parts)]) if isinstance(node, nodes.Name) else None


def _all(node: nodes.Node) -> Iterator[nodes.Node]:
    stack = [node]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(node.iter_child_nodes())
