# pyright: basic
"""Runs inside a kernel under test, before its first cell: what goes wrong in a cell becomes an error.

nbval takes a cell for good when no error message comes. An unknown magic, a shell command that fails, or an error
swallowed by ``%%capture --no-stderr`` and its like send none; here they do. It is a text that kernels run
(:mod:`mlplatform.notebook.linear`), or a startup file of IPython for nbval alone; it leaves no name behind.
"""


def _make_honest(shell):
    """Usage errors of magics and failing shell commands raise."""
    from IPython.core.error import UsageError

    def usage_error(error):
        shell._showtraceback(type(error), error, [f"UsageError: {error}"])

    def system(command):
        plain_system(command)
        status = shell.user_ns.get("_exit_code", 0)
        if status:
            raise RuntimeError(f"the shell command ended with exit status {status}: {command}")

    def getoutput(command, split=True, depth=0):
        import subprocess

        words = shell.var_expand(command, depth=depth + 1)
        done = subprocess.run(words, shell=True, capture_output=True, text=True)  # noqa: S602 - as ``!command`` does
        if done.returncode:
            raise RuntimeError(f"the shell command ended with exit status {done.returncode}: {command}\n{done.stderr}")
        if not split:
            return done.stdout
        from IPython.utils.text import SList

        return SList(done.stdout.splitlines())

    def run_line_magic(name, line, _stack_depth=1):
        """Line magics inside an expression and automagic go through here as well."""
        if shell.find_line_magic(name) is None:
            raise UsageError(f"Line magic function `%{name}` not found.")
        return find(name, line, _stack_depth + 1)

    plain_system, find = shell.system, shell.run_line_magic
    shell.show_usage_error = usage_error
    shell.system = system
    shell.getoutput = getoutput
    shell.run_line_magic = run_line_magic


try:
    _shell = get_ipython()  # type: ignore[name-defined]  # a kernel has it among its builtins
except NameError:
    _shell = None  # read, not run in a kernel
if _shell is not None:
    _make_honest(_shell)
    del _make_honest
del _shell
