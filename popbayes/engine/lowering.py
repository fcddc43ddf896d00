"""Numba's compiler for kernels: what others call is lowered only, and passes that find nothing are left out.

Numba optimises every function together with all that it calls, and makes machine code of the whole, again
at each level of calls. Here only the entry points are: what they call is handed to them as it was lowered,
so that the optimiser sees every line once. Compiling a model takes half the time; the result is the same.

This uses hooks of numba that its documentation does not promise: `pipeline_class`, the list of passes, and
the library that holds a function's code. A numba without them compiles everything its own way.
"""

import uuid
from typing import Any

from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler, CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import FunctionPass, register_pass
from numba.core.typed_passes import NativeLowering, NopythonTypeInference

LEVEL = 2
"""Of optimisation: the third takes a twentieth longer to compile, and kernels are no faster for it."""
NOT_NEEDED = {
    "WithLifting",
    "InlineClosureLikes",
    "MakeFunctionToJitFunction",
    "FindLiterallyCalls",
    "LiteralUnroll",
    "LiteralPropagationSubPipelinePass",
    "InlineOverloads",
    "NopythonRewrites",
    "DumpParforDiagnostics",
}
"""Passes for what no kernel has: closures, `with`, loops over tuples of several types, array expressions."""


class SealedLibrary(JITCodeLibrary):
    """Code of a function and of all that it calls, which it shares with no other.

    The loader binds a name to the first library that has it, even if it is internal. That is one in a process
    that compiles, where functions were made machine code by themselves too, and another in a process that
    loads the result from disk. Both compute the same sum, in another order: not the same bits.
    """

    def _optimize_functions(self, ll_module: Any) -> None:
        """Note what is the function's own, and optimise it."""
        self._note_own(ll_module)
        super()._optimize_functions(ll_module)

    def _note_own(self, ll_module: Any) -> None:
        """These functions keep their names."""
        self._own = getattr(self, "_own", set()) | {
            one.name for one in ll_module.functions if not one.is_declaration
        }

    def _optimize_final_module(self) -> None:
        """Give what was linked in names that no other library has."""
        mark = uuid.uuid4().hex
        for one in self._final_module.functions:
            if not one.is_declaration and one.name not in self._own:
                one.linkage = "internal"
                one.name = f"{one.name}.{mark}"
        self._optimize_whole()

    def _optimize_whole(self) -> None:
        """Optimise function and what was linked in together."""
        super()._optimize_final_module()


class EntryLibrary(SealedLibrary):
    """Code of an entry point and of all that it calls, optimised once.

    Numba optimises twice, so as to take back references that the first round brings together; kernels count
    none in their loops. As nobody else uses what was linked in, functions that are called at one place only
    can become part of it, and need not be handed their arrays number by number.
    """

    def _optimize_functions(self, ll_module: Any) -> None:
        """Leave it to the whole."""
        ll_module.data_layout = self._codegen._data_layout
        self._note_own(ll_module)

    def _optimize_whole(self) -> None:
        """Optimise the whole, at our level."""
        passes, builder = self._codegen._module_pass_manager(opt=LEVEL)
        with self._recorded_timings.record("Module passes", builder):
            passes.run(self._final_module, builder)


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


def _use(kind: type[JITCodeLibrary], name: str) -> type[FunctionPass]:
    """The pass that gives a function a library of this kind before it is lowered."""

    @register_pass(mutates_CFG=False, analysis_only=False)
    class UseLibrary(FunctionPass):
        _name = name

        def __init__(self) -> None:
            FunctionPass.__init__(self)

        def run_pass(self, state: Any) -> bool:
            """Make the library."""
            state.library = kind(state.targetctx.codegen(), state.func_id.func_qualname)
            state.library.enable_object_caching()
            return False

    return UseLibrary


UseEntryLibrary = _use(EntryLibrary, "popbayes_entry_library")
UseSealedLibrary = _use(SealedLibrary, "popbayes_sealed_library")
UseInnerLibrary = _use(InnerLibrary, "popbayes_inner_library")


class SealedCompiler(CompilerBase):
    """Numba's own passes, and a library that shares nothing."""

    def define_pipelines(self) -> list[Any]:
        """The passes."""
        passes = DefaultPassBuilder.define_nopython_pipeline(self.state)
        passes.add_pass_after(UseSealedLibrary, NopythonTypeInference)
        passes.finalize()
        return [passes]


class _KernelCompiler(CompilerBase):
    """Numba's passes, less those that are not needed, with a library of our own."""

    library: type[FunctionPass]

    def define_pipelines(self) -> list[Any]:
        """The passes."""
        passes = DefaultPassBuilder.define_nopython_pipeline(self.state)
        passes.passes = [one for one in passes.passes if one[0].__name__ not in NOT_NEEDED]
        passes.add_pass_after(self.library, NopythonTypeInference)
        passes.finalize()
        return [passes]


class EntryCompiler(_KernelCompiler):
    """Of functions that are called from outside."""

    library = UseEntryLibrary


class InnerCompiler(_KernelCompiler):
    """Of functions that only other kernels call."""

    library = UseInnerLibrary


def _works() -> bool:
    """Whether numba has what this module overrides."""
    needed = (
        *("_optimize_functions", "_optimize_final_module"),
        *("_finalize_dynamic_globals", "_verify_declare_only_symbols"),
    )
    return all(hasattr(JITCodeLibrary, name) for name in needed) and hasattr(NativeLowering, "run_pass")


ENTRY: type[CompilerBase] = EntryCompiler if _works() else Compiler
"""`pipeline_class` of entry points."""
SEALED: type[CompilerBase] = SealedCompiler if _works() else Compiler
"""`pipeline_class` of functions that are kept on disk together with what numba or PyTensor made."""
INNER: type[CompilerBase] = InnerCompiler if _works() else Compiler
"""`pipeline_class` of the others."""
