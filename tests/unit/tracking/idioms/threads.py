import threading

import mlflow


def work(i):
    mlflow.log_metric(f"m{i}", i)


ts = [threading.Thread(target=work, args=(i,)) for i in range(4)]
[t.start() for t in ts]
[t.join() for t in ts]
