"""What runs in the child process or the pod around user code. Python 3.9+, standard library only, stands alone."""
