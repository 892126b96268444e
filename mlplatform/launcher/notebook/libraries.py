# pyright: basic
"""Hidden state inside libraries: generators and options that a notebook sets once and that all its cells live with.

Nothing here imports a library that the notebook has not imported, except to restore what it had set in one.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from . import registered
from .tracking import autologging, set_autologging

_SEEDING = frozenset(("seed", "set_state", "setstate", "manual_seed", "set_seed", "seed_everything", "set_rng_state"))
_PRINT = {
    "edgeitems": 3, "threshold": 1000, "precision": 8, "suppress": False, "linewidth": 75, "nanstr": "nan",
    "infstr": "inf", "sign": "-", "formatter": None, "floatmode": "maxprec", "legacy": False, "override_repr": None,
}  # fmt: skip
_ERRORS = {"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"}
#: Settings of matplotlib that say where it draws, not what.
_PLACES = frozenset(("backend", "backend_fallback", "interactive", "toolbar", "webagg.port"))


class Libraries:
    """Items of the libraries that are loaded."""

    def __init__(self) -> None:
        self._numpy: Any = None
        self._torch: Any = None
        self._decimal: Any = None
        self._locale = _locale()
        self._logging = _logging()

    # ------------------------------------------------------------------ reading
    def read(self, words: frozenset[str]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in (
            ("@numpy.random", self._numpy_random(words)),
            ("@torch.random", self._torch_random()),
            ("@numpy.options", _numpy_options()),
            ("@matplotlib", _matplotlib()),
            ("@pandas", _pandas()),
            ("@decimal", self._decimal_context()),
            ("@sklearn", _sklearn()),
            ("@torch", _torch_options()),
            ("@ipython", _ipython()),
            ("@mlflow", autologging()),
            ("@locale", None if _locale() == self._locale else _locale()),
            ("@logging", None if _logging() == self._logging else _logging()),
        ):
            if value:
                found[name] = value
        return found

    def _numpy_random(self, words: frozenset[str]) -> Any:
        module = sys.modules.get("numpy.random")
        if module is None:
            return None
        told: Any = module.get_state()  # type: ignore[attr-defined]
        if not isinstance(told, tuple):
            return told  # somebody has put another generator in its place
        kind, key, position, has_gauss, cached = told
        state = (kind, key.tobytes(), int(position), int(has_gauss), float(cached))
        if self._numpy is None:
            # Just imported: unless the same task has drawn from it or seeded it, this is the entropy of its import.
            fresh = position == 624 and not has_gauss and not words & _SEEDING
            self._numpy = state if fresh else ()
        return None if state == self._numpy else state

    def _torch_random(self) -> Any:
        torch: Any = sys.modules.get("torch")
        if torch is None or not hasattr(torch, "get_rng_state"):
            return None
        state = torch.get_rng_state().numpy().tobytes()
        if self._torch is None:
            self._torch = torch.Generator().get_state().numpy().tobytes()
        return None if state == self._torch else state

    def _decimal_context(self) -> Any:
        decimal: Any = sys.modules.get("decimal")
        if decimal is None:
            return None
        context = decimal.getcontext()
        fresh = decimal.Context()
        words = ("prec", "rounding", "Emin", "Emax", "capitals", "clamp")
        told = {word: getattr(context, word) for word in words}
        told["traps"] = sorted(signal.__name__ for signal, on in context.traps.items() if on)
        told["flags"] = sorted(signal.__name__ for signal, on in context.flags.items() if on)
        plain = {word: getattr(fresh, word) for word in words}
        plain["traps"] = sorted(signal.__name__ for signal, on in fresh.traps.items() if on)
        plain["flags"] = []
        return None if told == plain else told

    # ------------------------------------------------------------------ writing
    def write(self, items: Mapping[str, Any]) -> None:
        """Restore items; a loaded library whose items are absent gets its defaults back."""
        now = self.read(frozenset())
        for name in _RESET.keys() & now.keys():
            if name not in items or name in _IN_PART:
                _RESET[name]()
        if "@locale" in now and "@locale" not in items:
            importlib.import_module("locale").setlocale(importlib.import_module("locale").LC_ALL, self._locale)
        if "@torch.random" in now and "@torch.random" not in items:
            torch = importlib.import_module("torch")
            torch.set_rng_state(torch.Generator().get_state())
        if state := items.get("@numpy.random"):
            import numpy as np

            if isinstance(state, dict):
                raise ValueError("another generator in the place of numpy's own")
            kind, key, position, has_gauss, cached = state
            if self._numpy is None:
                self._numpy = ()
            np.random.set_state((kind, np.frombuffer(key, dtype=np.uint32), position, has_gauss, cached))
        if state := items.get("@torch.random"):
            torch = importlib.import_module("torch")
            torch.set_rng_state(torch.frombuffer(bytearray(state), dtype=torch.uint8))
        if options := items.get("@numpy.options"):
            import numpy as np

            np.set_printoptions(**{k: v for k, v in options["print"].items() if k != "override_repr"})
            np.seterr(**options["errors"])
        if told := items.get("@decimal"):
            _set_decimal(told)
        if told := items.get("@matplotlib"):
            matplotlib = importlib.import_module("matplotlib")
            matplotlib.rcParams.update(told)
        if told := items.get("@pandas"):
            config = importlib.import_module("pandas")
            for name, value in told.items():
                config.set_option(name, value)
        if told := items.get("@sklearn"):
            importlib.import_module("sklearn").set_config(**told)
        if told := items.get("@torch"):
            _set_torch(told)
        if told := items.get("@mlflow"):
            set_autologging(told)
        if told := items.get("@ipython"):
            _set_ipython(told)
        if told := items.get("@locale"):
            importlib.import_module("locale").setlocale(importlib.import_module("locale").LC_ALL, told)
        if told := items.get("@logging"):
            _set_logging(told)

    def blocks(self) -> Iterator[str]:
        """What of libraries no other process can have."""
        helpers: Any = sys.modules.get("matplotlib._pylab_helpers")
        if helpers is not None and helpers.Gcf.figs:
            yield "an open pyplot figure"
        logging: Any = sys.modules.get("logging")
        if logging is not None:
            every = [registered.handler(one) for one in logging.root.handlers]
            every += [one for told in registered.loggers().values() for one in told["handlers"]]
            if None in every:
                yield "a logging handler of its own"
        torch: Any = sys.modules.get("torch")
        if torch is not None and hasattr(torch, "cuda") and torch.cuda.is_initialized():
            yield "a GPU that is in use"


# ------------------------------------------------------------------ one library each
def _reset_numpy() -> None:
    import numpy as np

    options: Any = {name: value for name, value in _PRINT.items() if name != "override_repr"}
    errors: Any = _ERRORS
    np.set_printoptions(**options)
    np.seterr(**errors)


def _reset_matplotlib() -> None:
    module: Any = sys.modules["matplotlib"]
    module.rcParams.update({k: v for k, v in dict.items(module.rcParamsDefault) if k not in _PLACES})


def _reset_pandas() -> None:
    for name in _pandas():
        sys.modules["pandas"].reset_option(name)


def _reset_sklearn() -> None:
    module: Any = sys.modules["sklearn._config"]
    module.set_config(**module._global_config)


_RESET = {
    "@numpy.options": _reset_numpy,
    "@matplotlib": _reset_matplotlib,
    "@pandas": _reset_pandas,
    "@sklearn": _reset_sklearn,
    "@decimal": lambda: sys.modules["decimal"].setcontext(sys.modules["decimal"].Context()),
    "@logging": lambda: _set_logging({}),
    "@torch": lambda: _set_torch(_PLAIN_TORCH),
    "@ipython": lambda: _set_ipython({}),
}


#: Items that tell only what is not as usual: the rest has to be as usual again.
_IN_PART = frozenset(("@matplotlib", "@pandas", "@sklearn", "@ipython"))


def _numpy_options() -> Any:
    np: Any = sys.modules.get("numpy")
    if np is None or not hasattr(np, "get_printoptions"):
        return None
    told = {"print": dict(np.get_printoptions()), "errors": dict(np.geterr())}
    plain = {name: value for name, value in _PRINT.items() if name in told["print"]}
    return None if told["print"] == plain and told["errors"] == _ERRORS else told


def _matplotlib() -> Any:
    module: Any = sys.modules.get("matplotlib")
    if module is None or not hasattr(module, "rcParamsDefault"):
        return None
    now, default = module.rcParams, module.rcParamsDefault
    return {
        name: dict.__getitem__(now, name)
        for name in now
        if name not in _PLACES and dict.__getitem__(now, name) != dict.get(default, name)
    }


def _pandas() -> Any:
    config: Any = sys.modules.get("pandas._config.config")
    if config is None:
        return None
    found: dict[str, Any] = {}
    for name, option in list(getattr(config, "_registered_options", {}).items()):
        if name in getattr(config, "_deprecated_options", {}):
            continue
        root: Any = config._global_config
        try:
            for word in name.split("."):
                root = root[word]
        except (KeyError, TypeError):
            continue
        if root is not option.defval and root != option.defval:
            found[name] = root
    return found


def settle() -> None:
    """Libraries that were imported ahead, where there was no notebook, decide again what they decide by that."""
    config: Any = sys.modules.get("pandas._config.config")
    name = "display.max_columns"  # as many as fit in a terminal's width, 20 in a notebook
    option = getattr(config, "_registered_options", {}).get(name)
    if option is not None and option.defval == 0:
        config._registered_options[name] = option._replace(defval=20)
        config.reset_option(name)


def resolve_backend() -> None:
    """pyplot resolves its backend with the first figure, which another process may have made: the shell learns only
    then to show figures as images."""
    if "matplotlib.pyplot" not in sys.modules or "matplotlib_inline.backend_inline" in sys.modules:
        return
    chosen = str(dict.get(importlib.import_module("matplotlib").rcParams, "backend"))
    if chosen in ("inline", "module://matplotlib_inline.backend_inline"):
        importlib.import_module("matplotlib_inline.backend_inline")


def _sklearn() -> Any:
    module: Any = sys.modules.get("sklearn._config")
    if module is None:
        return None
    return {name: value for name, value in module.get_config().items() if module._global_config.get(name) != value}


def _torch_options() -> Any:
    torch: Any = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "get_default_dtype"):
        return None
    told = {
        "dtype": str(torch.get_default_dtype()),
        "grad": torch.is_grad_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }
    return None if told == _PLAIN_TORCH else told


_PLAIN_TORCH = {"dtype": "torch.float32", "grad": True, "deterministic": False}


def _set_torch(told: Mapping[str, Any]) -> None:
    torch = importlib.import_module("torch")
    torch.set_default_dtype(getattr(torch, told["dtype"].partition(".")[2]))
    torch.set_grad_enabled(told["grad"])
    torch.use_deterministic_algorithms(told["deterministic"])


def _set_decimal(told: Mapping[str, Any]) -> None:
    decimal = importlib.import_module("decimal")
    context = decimal.getcontext()
    for word in ("prec", "rounding", "Emin", "Emax", "capitals", "clamp"):
        setattr(context, word, told[word])
    for signal in context.traps:
        context.traps[signal] = signal.__name__ in told["traps"]
        context.flags[signal] = signal.__name__ in told["flags"]


def _ipython() -> Any:
    """What magics set in the shell: extensions, formats of figures, precision of floats."""
    from . import rebuild

    shell = rebuild.the_shell()
    if shell is None:
        return None
    told: dict[str, Any] = {}
    extensions = sorted(name for name in shell.extension_manager.loaded if name != "storemagic")
    if extensions:
        told["extensions"] = extensions
    if own := registered.magics(shell):
        told["magics"] = own
    text = shell.display_formatter.formatters["text/plain"]
    if text.float_precision:
        told["precision"] = text.float_precision
    if shell.ast_node_interactivity != "last_expr":
        told["interactivity"] = shell.ast_node_interactivity
    inline: Any = sys.modules.get("matplotlib_inline.config")
    if inline is not None and inline.InlineBackend.initialized():
        backend = inline.InlineBackend.instance()
        formats = sorted(backend.figure_formats)
        if formats != ["png"]:
            told["formats"] = formats
        if backend.print_figure_kwargs != {"bbox_inches": "tight"}:
            told["figures"] = dict(backend.print_figure_kwargs)
    return told


def _set_ipython(told: Mapping[str, Any]) -> None:
    from . import rebuild

    shell = rebuild.the_shell()
    if shell is None:
        return
    wanted = told.get("extensions", ())
    for name in [name for name in shell.extension_manager.loaded if name != "storemagic" and name not in wanted]:
        shell.extension_manager.unload_extension(name)
    for name in wanted:
        shell.extension_manager.load_extension(name)
    registered.set_magics(shell, told.get("magics", {}))
    shell.display_formatter.formatters["text/plain"].float_precision = told.get("precision", "")
    shell.ast_node_interactivity = told.get("interactivity", "last_expr")
    kind: Any = getattr(sys.modules.get("matplotlib_inline.config"), "InlineBackend", None)
    if "formats" in told or "figures" in told or (kind is not None and kind.initialized()):
        importlib.import_module("matplotlib.pyplot")
        inline = importlib.import_module("matplotlib_inline.config").InlineBackend.instance(parent=shell)
        if "formats" in told:
            shell.run_line_magic("matplotlib", "inline")
        inline.figure_formats = set(told.get("formats", ("png",)))
        inline.print_figure_kwargs = dict(told.get("figures", {"bbox_inches": "tight"}))


def _locale() -> str:
    import locale

    return locale.setlocale(locale.LC_ALL)


def _logging() -> Any:
    logging: Any = sys.modules.get("logging")
    if logging is None:
        return {}
    levels = {
        name: one.level
        for name, one in sorted(logging.root.manager.loggerDict.items())
        if isinstance(one, logging.Logger) and one.level and not name.startswith(("asyncio", "parso", "IPython"))
    }
    handlers = [registered.handler(one) for one in logging.root.handlers]
    told: dict[str, Any] = {}
    if logging.root.level != logging.WARNING:
        told["root"] = logging.root.level
    if levels:
        told["levels"] = levels
    if handlers:
        told["handlers"] = handlers
    if logging.root.manager.disable:
        told["disabled"] = logging.root.manager.disable
    if own := registered.loggers():
        told["loggers"] = own
    if getattr(logging, "_warnings_showwarning", None) is not None:
        told["warnings"] = True
    return told


def _set_logging(told: Mapping[str, Any]) -> None:
    import logging

    logging.root.setLevel(told.get("root", logging.WARNING))
    for name, level in told.get("levels", {}).items():
        logging.getLogger(name).setLevel(level)
    logging.disable(told.get("disabled", 0))
    registered.set_handlers(logging.root, told.get("handlers", ()))
    registered.set_loggers(told.get("loggers", {}))
    logging.captureWarnings(bool(told.get("warnings")))
