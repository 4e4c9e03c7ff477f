#!/bin/sh
# Give each file of the folder of secrets to a command as the environment variable of its name.
set -eu
for file in "${SECRETS:-/run/secrets}"/*; do
    if [ -f "$file" ]; then
        export "$(basename "$file")=$(cat "$file")"
    fi
done
exec "$@"
