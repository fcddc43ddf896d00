"""Numba's compiler for functions that only other kernels call: lowered, not optimised, no machine code.

Numba optimises every function together with all that it calls, and makes machine code of the whole, again
at each level of calls. Here only the entry points are: what they call is handed to them as it was lowered,
so that the optimiser sees every line once. Compiling a model takes half the time, and the result is the same.

This uses two hooks of numba that its documentation does not promise: `pipeline_class`, and the library that
holds a function's code. A numba without them compiles everything its own way.
"""

from typing import Any

from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler, CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import FunctionPass, register_pass
from numba.core.typed_passes import NativeLowering, NopythonTypeInference


class _NoEnvironment:
    """Takes the environment that numba registers with a finished function; kernels do not use theirs."""

    def set_env(self, name: str, env: Any) -> None:
        """Do nothing."""


class InnerLibrary(JITCodeLibrary):
    """Code of one function, to be linked into those that call it."""

    @property
    def codegen(self) -> Any:
        """What numba registers the environment of a finished function with."""
        return _NoEnvironment()

    def _optimize_final_module(self) -> None:
        """Leave it to the entry point."""

    def _finalize_final_module(self) -> None:
        """Finish without machine code."""
        self._finalize_dynamic_globals()
        self._verify_declare_only_symbols()
        self._finalized = True


@register_pass(mutates_CFG=False, analysis_only=False)
class UseInnerLibrary(FunctionPass):
    """Give the function an `InnerLibrary` before it is lowered."""

    _name = "popbayes_inner_library"

    def __init__(self) -> None:
        FunctionPass.__init__(self)

    def run_pass(self, state: Any) -> bool:
        """Make the library."""
        state.library = InnerLibrary(state.targetctx.codegen(), state.func_id.func_qualname)
        state.library.enable_object_caching()
        return False


class InnerCompiler(CompilerBase):
    """Numba's passes with an `InnerLibrary`."""

    def define_pipelines(self) -> list[Any]:
        """The passes."""
        passes = DefaultPassBuilder.define_nopython_pipeline(self.state)
        passes.add_pass_after(UseInnerLibrary, NopythonTypeInference)
        passes.finalize()
        return [passes]


def _works() -> bool:
    """Whether numba has what this module overrides."""
    needed = ("_optimize_final_module", "_finalize_dynamic_globals", "_verify_declare_only_symbols")
    return all(hasattr(JITCodeLibrary, name) for name in needed) and hasattr(NativeLowering, "run_pass")


INNER: type[CompilerBase] = InnerCompiler if _works() else Compiler
"""`pipeline_class` of functions that are not entry points."""
