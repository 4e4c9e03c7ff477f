#!/bin/sh
# Make work pool, deployments and automations of the server that PREFECT_API_URL names what this project says. Again
# after each change; what is there already is brought up to date.
set -eu
: "${PREFECT_API_URL:?the server}" "${PIXMILL_ROOT:?the folder of this project on the machines of the workers}"
: "${PIXMILL_STORE:?the folder that outlives the workers: an absolute path}"
cd "$(dirname "$0")/.."
prefect --no-prompt work-pool create pixmill --type process --overwrite
prefect --no-prompt deploy --all --prefect-file deployments/prefect.yaml
python -m deployments.automations
