"""The container images of the cluster tests, built by a Docker daemon of our own where no registry can be reached."""
