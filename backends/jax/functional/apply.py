"""A block as a pure function: `basic(params, x, *, stride=1)`."""

from __future__ import annotations

import ast
from collections.abc import Mapping

from ....compiler import expr
from ....compiler.expr import literal
from ....compiler.graph import Input
from ....compiler.program import Class, Var
from ...source.compose import Assign, Composer, Line, Return, Store
from ...source.lines import bodies
from ...source.module import block
from ...source.names import free
from ...source.scope import Scope, signature
from ...source.tree import tree
from ..policy import Policy
from .layers import Layers
from .needs import Known
from .polish import copying, keyed, merged, read
from .printer import Body


class Function:
    """Prints the function that applies a class."""

    def __init__(
        self,
        cls: Class,
        taken: frozenset[str],
        layers: Layers,
        known: Known,
        functions: Mapping[str, str],
        policy: Policy,
        *,
        model: bool,
    ) -> None:
        self.cls = cls
        self.taken = taken
        self.needs = known[cls]
        self.name = functions[cls.name]
        self.scope = Scope(cls, (), taken)
        self.scope.kept = {p.name: self.scope.locals[p.name] for p in cls.params}
        self.body = Body(cls, self.scope, taken, layers, known, functions, policy)
        self.policy = policy
        self.model = model
        given = {*self.scope.locals.values()}
        self.arguments = {n: self.scope.locals.get(n) or free(n, {*taken, *given})
                          for n in cls.inputs}  # fmt: skip

    def source(self, doc: str, optional: Mapping[str, Input]) -> str:
        """The function as text; notes which hyper-parameters it reads."""
        statements = self._statements(optional)
        used = read(statements)
        names = {p.name: self.scope.locals[p.name] for p in self.cls.params}
        self.needs.hypers = {n: local for n, local in names.items() if local in used}
        results = ["jax.Array"] * len(self.cls.outputs) + ["State"] * self.needs.state
        kind = f"tuple[{', '.join(results)}]" if len(results) > 1 else results[0]
        arguments = ", ".join(self._signature(optional))
        text = block(copying(keyed(keyed(statements), "noise_key")), 1)
        return f"def {self.name}({arguments}) -> {kind}:\n    {doc}\n{text}\n"

    def _signature(self, optional: Mapping[str, Input]) -> list[str]:
        needs = self.needs
        trees = ["params: Params"] * needs.params + ["state: State"] * needs.state
        tensors = [
            f"{name}: jax.Array" + (" | None = None" if source in optional else "")
            for source, name in self.arguments.items()
        ]
        local = {*needs.hypers.values()}
        told = [a for a in signature(self.cls, self.scope) if a.partition(":")[0] in local]
        told += ["train: bool = False"] * needs.train
        told += ["noise_key: jax.Array"] * needs.noise
        told += ["key: jax.Array | None = None"] * needs.key
        return [*trees, *tensors, *(["*"] if told else []), *told]

    def _statements(self, optional: Mapping[str, Input]) -> list[ast.stmt]:
        out = self.body.out
        names = {var: self.arguments[n] for n, var in self.cls.inputs.items()}
        for name, default in optional.items():
            self.body.default(self.cls.inputs[name], default)
        self.body.body(self.cls.body)
        results = [self.body.kept(var) for var in self.cls.outputs.values()]
        out.final = {out.leader(var) for var in self.cls.outputs.values()}
        values = [self.body.kept(var) for _, var in self.cls.updates]
        for (parameter, _), value in zip(self.cls.updates, values, strict=True):
            held = tree("state[{k}]", k=literal(parameter.name))
            out.lines.append(Store(held, self.policy.leaving(value, parameter.type.dtype)))
        if self.model:
            results = [
                self.policy.leaving(x, var.type.dtype)
                for x, var in zip(results, self.cls.outputs.values(), strict=True)
            ]
        results += [expr.name("state")] if self.needs.state else []
        single = len(results) == 1
        out.lines.append(Return(results[0] if single else ast.Tuple(results, ast.Load())))
        self.body.sizes.settle()
        _pass_on(out.lines, out, out.uses(out.lines))
        return merged(out.finish(names, self.taken))


def _pass_on(lines: list[Line], out: Composer, count: Mapping[Var, int]) -> None:
    """What is only given another name has that name from the start, beside a new state, too."""
    for line in lines:
        for inner in bodies(line):
            _pass_on(inner, out, count)
    for i in range(len(lines) - 3, -1, -1):
        match lines[i : i + 3]:
            case [
                Assign(targets=[made, _] as targets),
                Store(),
                Assign([name], ast.Name() as value),
            ]:
                if out.reads(value) == [made] and count[made] == 1:
                    targets[0] = name
                    del lines[i + 2]


__all__ = ["Function"]
