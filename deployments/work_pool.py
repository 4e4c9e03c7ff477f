"""The work pool of the project's deployments; `prefect.yaml`, `deploy.sh` and `compose.yaml` name it too."""

POOL = "pixmill"
