"""A class of the program as an `nn.Module`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ...compiler.graph import Fact, Input
from ...compiler.program import Class
from ..source.module import block, describe, docstring
from ..source.names import free
from ..source.scope import Scope, signature
from .attention import Attention
from .computation import Forward
from .constructor import Members
from .reserved import ATTRIBUTES


class Module:
    """Prints one class; `taken` are names that the file defines, `facts` what its sizes keep to."""

    def __init__(
        self,
        cls: Class,
        taken: frozenset[str],
        attention: Attention | None,
        optional: Mapping[str, Input],
        facts: Iterable[Fact],
    ) -> None:
        self.cls = cls
        self.taken = taken
        self.facts = facts
        self.scope = Scope(cls, ATTRIBUTES, taken)
        self.arguments = {
            name: self.scope.locals.get(name) or free(name, {*taken, *self.scope.locals.values()})
            for name in cls.inputs
        }
        self.members = Members(cls, self.scope, attention)
        self.forward = Forward(cls, self.scope, taken, attention, optional)

    def source(self) -> str:
        """The class as text."""
        pieces = [f"class {self.cls.name}(nn.Module):\n    {docstring(self._doc())}\n"]
        buffers = [p for p in self.cls.parameters if not p.trainable]
        pieces += [f"    {self.scope.attribute(p.name)}: Tensor\n" for p in buffers]
        forward = self._forward()
        self.scope.keep(forward)
        made, arguments = [*self.members.statements()], signature(self.cls, self.scope)
        if made or arguments:
            pieces.append(
                f"\n    def __init__({', '.join(['self', *arguments])}) -> None:\n"
                f"        super().__init__()\n{block(made, 2) if made else ''}\n"
            )
        return "".join([*pieces, f"\n{forward}"])

    def _doc(self) -> str:
        return describe(self.cls, facts=self.facts)

    def _forward(self) -> str:
        names = {var: self.arguments[name] for name, var in self.cls.inputs.items()}
        self.forward.every_line()
        body = self.forward.out.finish(names, self.taken)
        optional = self.forward.optional
        arguments = [
            f"{name}: Tensor" + (" | None = None" if var.name in optional else "")
            for var, name in names.items()
        ]
        count = len(self.cls.outputs)
        kind = "Tensor" if count == 1 else f"tuple[{', '.join(['Tensor'] * count)}]"
        return f"    def forward({', '.join(['self', *arguments])}) -> {kind}:\n{block(body, 2)}"
