"""Runs task code in processes of its own, as the launcher does: the hook first, then the user's code.

``python task_process.py JOBS.json``: each job ``{"env", "hook", "code", "out"}``; ``before`` names modules imported
first (a warm template that has imported mlflow already). Each job runs in a fork; what it leaves in ``result`` or the
error it ended with goes to ``out``.
"""

import importlib
import json
import os
import sys
import traceback


def run(job):
    os.environ.update(job["env"])
    hook = {"__name__": "hook"}
    with open(job["hook"]) as file:
        exec(compile(file.read(), job["hook"], "exec"), hook)
    answer = {"error": "", "result": None}
    space = {"__name__": "__main__", "result": None}
    try:
        exec(compile(job["code"], "task.py", "exec"), space)
        hook["finish"]()
        answer["result"] = space["result"]
    except BaseException:
        answer["error"] = traceback.format_exc()
    with open(job["out"], "w") as file:
        json.dump(answer, file)


def main():
    with open(sys.argv[1]) as file:
        plan = json.load(file)
    for name in plan["before"]:
        importlib.import_module(name)
    for job in plan["jobs"]:
        pid = os.fork()
        if pid == 0:
            run(job)
            sys.stdout.flush()
            os._exit(0)
        os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
