"""Runs at the start of every kernel under test (IPython startup file): what goes wrong in a cell becomes an error.

nbval takes a cell for good when no error message comes. An unknown magic, a shell command that fails, or an error
swallowed by ``%%capture --no-stderr`` and its like send none; here they do.
"""

from IPython import get_ipython
from IPython.core.error import UsageError


def make_honest(shell):
    def usage_error(error):
        shell._showtraceback(type(error), error, [f"UsageError: {error}"])

    def system(command):
        plain_system(command)
        status = shell.user_ns.get("_exit_code", 0)
        if status:
            raise RuntimeError(f"the shell command ended with exit status {status}: {command}")

    def getoutput(command, split=True, depth=0):
        import subprocess

        done = subprocess.run(shell.var_expand(command, depth=depth + 1), shell=True, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"the shell command ended with exit status {done.returncode}: {command}\n{done.stderr}")
        return done.stdout.splitlines() if split else done.stdout

    plain_system = shell.system
    shell.show_usage_error = usage_error
    shell.system = system
    shell.getoutput = getoutput


def unknown_magics_are_errors(shell):
    """Line magics inside an expression and automagic go through here as well."""
    find = shell.run_line_magic

    def run_line_magic(name, line, _stack_depth=1):
        if shell.find_line_magic(name) is None:
            raise UsageError(f"Line magic function `%{name}` not found.")
        return find(name, line, _stack_depth + 1)

    shell.run_line_magic = run_line_magic


ip = get_ipython()
if ip is not None:
    make_honest(ip)
    unknown_magics_are_errors(ip)
