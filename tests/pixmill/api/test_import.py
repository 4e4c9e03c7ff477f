"""`import pixmill`: what it costs, and that its functions stay functions."""

import json
import subprocess
import sys

LOOK = """
import json, pkgutil, sys
before = set(sys.modules)
import pixmill
loaded = sorted(name for name in set(sys.modules) - before if not name.startswith("pixmill"))
import importlib
for found in pkgutil.walk_packages(pixmill.__path__, "pixmill."):
    if not found.name.endswith("__main__"):
        try:
            importlib.import_module(found.name)
        except ModuleNotFoundError as error:
            assert not error.name.startswith("pixmill"), error  # an extra
kinds = {name: type(getattr(pixmill, name)).__name__ for name in pixmill.__all__}
print(json.dumps([loaded, kinds, sorted(pixmill.__all__)]))
"""


def test_importing_pixmill_loads_nothing_and_no_module_hides_a_function() -> None:
    looked = subprocess.run(
        [sys.executable, "-c", LOOK], capture_output=True, text=True, check=True
    )
    loaded, kinds, public = json.loads(looked.stdout)
    # Not even what the standard library has for big jobs.
    assert set(loaded) <= {"importlib", "typing", "__future__", "warnings"}, loaded
    assert set(kinds.values()) == {"function"}
    assert public == ["load_config", "load_results", "plan", "repair", "run", "verify"]
