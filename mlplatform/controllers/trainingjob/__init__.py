"""TrainingJob: a pod for each rank, decided by the gang brain that one machine has too."""
