"""What a training job is made of on a cluster: a pod for each rank, and the objects that stand beside them."""
