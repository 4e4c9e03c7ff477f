"""The command `schema`: the JSON schema of a config, for editors."""

import typer


def schema() -> None:
    """Print the JSON schema of configs, for editors to complete.

    pixmill schema > config.schema.json
    """
    from pixmill.config.json_schema import schema_text

    typer.echo(schema_text(), nl=False)
