"""Reading configs: everything that is wrong is said at once, with its place."""

import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import yaml

from pixmill.config.loading import NOT_YET, load_config
from pixmill.config.model import Config
from pixmill.errors import ConfigError
from pixmill.request.sweep.points import point_id

ROOT = Path(__file__).parents[3]


def mistakes(folder: Path, text: str, *overrides: str) -> str:
    path = folder / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides)
    return str(caught.value)


def loaded(folder: Path, text: str, *overrides: str) -> Config:
    path = folder / "good.yaml"
    path.write_text(text)
    return load_config(path, overrides)


SMALL = "name: pets\ninput: {path: pets.csv}\n"


def test_the_points_of_a_sweep_are_made_once_however_many_checks_read_them(
    tmp_path: Path,
) -> None:
    """It may make 100,000 of them."""
    made: list[str] = []

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code is point_id.__code__:
            made.append(event)

    sys.setprofile(note)
    try:
        loaded(tmp_path, f"{SMALL}sweep: {{scale: [2, 3, 4]}}\n")
    finally:
        sys.setprofile(None)
    assert len(made) == 3


@pytest.mark.parametrize(
    "path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.stem
)
def test_every_shipped_config_loads(path: Path) -> None:
    assert load_config(path).name


def test_the_contract_example_parses_section_by_section(tmp_path: Path) -> None:
    text = """
version: 1
name: pets
store: out
ledger: null
input:
  path: data/pets.csv
  row_key: [id]
  columns: {image_url: photo, prompt: text}
  images: url
  encoding: utf-8
  where: null
  max_invalid: 0.05
  ignore_url_params: []
request:
  operation: CVProcess
  mode: auto
  req_key: high_aes_scheduler_svr_controlnet_v2.0
  prompt: "{text}, in watercolor"
  params: {model_version: general_controlnet_v2.0, scale: 3, ddim_steps: 16, use_rephraser: true,
           controlnet_args: [{type: depth, binary_data_index: 0, strength: 0.6}], return_url: true,
           logo_info: {add_logo: false, position: 0, language: 0, logo_text_content: ""}}
sweep: {groups: [], exclude: [], only: []}
seed: {policy: per_row, base: 7, replicates: 1}
provider: {kind: simulator}
limits: {qps: 2, concurrency: 4, timeout_seconds: 120,
         poll_qps: 10, poll_seconds: 2, task_timeout_seconds: 600}
retry: {max_attempts: 4, max_runs: 3, rerolls: 2, codes: {}}
budget: {max_calls: null, max_cost: null, max_cost_per_month: null, price_per_call: null, currency: CNY,
         timezone: Asia/Shanghai, prices: []}
stop: {failed_fraction: 0.5, refused_fraction: 0.5, window: 50}
accept: {failed: 0, refused: 0, invalid: 0}
in_doubt: hold
execution: {engine: threads, address: null, workers: 2, jobs_per_task: auto}
output: {images: download, allow_hosts: [], keep_versions: 10}
"""
    config = loaded(tmp_path, text)
    dumped = config.model_dump(mode="json")
    for name, given in yaml.safe_load(text).items():
        # Sections have keys beside those of the contract.
        found = dumped[name]
        if isinstance(given, dict):
            found = {key: found[key] for key in given}
        assert found == given


def test_all_mistakes_are_reported_at_once_with_their_paths(tmp_path: Path) -> None:
    said = mistakes(
        tmp_path,
        """
name: pets
limits: {qsp: 3, concurrency: lots}
stop: {window: 0}
provider: {kind: gateway, api_key: abc, base_url: "http://gateway.example.com"}
input:
  path: a.csv
  columns: {image_url: photo, prompt: text, "controlnet_args.1.strength": best}
request: {params: {scale: 99, ddim_step: 3, controlnet_args: [{type: dept, strength: 0}]}}
""",
        "budget.max_cost=3",
        "no-equals-sign",
    )
    for place in (
        "--set no-equals-sign",
        "limits.qsp: unknown key; did you mean `qps`?",
        "limits.concurrency:",
        "stop.window:",
        "provider.api_key: unknown key",
        "provider.base_url: must be https",
        "request.params.scale:",
        "request.params.ddim_step: unknown key; did you mean `ddim_steps`?",
        "request.params.controlnet_args.0.type:",
        "request.params.controlnet_args.0.strength:",
        "budget.max_cost: needs budget.price_per_call",
    ):
        assert place in said
    assert "11 mistakes" in said
    assert "abc" not in said


NOT_YET_VALUES: dict[str, Any] = {
    "execution.engine": "ray",
}


def test_the_list_of_keys_for_later_is_covered_here() -> None:
    assert NOT_YET_VALUES.keys() == NOT_YET.keys()


@pytest.mark.parametrize(("path", "value"), NOT_YET_VALUES.items())
def test_a_key_that_is_not_honoured_yet_is_refused_and_never_ignored(
    tmp_path: Path, path: str, value: Any
) -> None:
    said = mistakes(
        tmp_path,
        SMALL,
        f"{path}={yaml.safe_dump(value, default_flow_style=True).removesuffix('...')}",
    )
    assert f"  {path}: " in said
    assert "not supported by this version" in said


@pytest.mark.parametrize(
    ("execution", "provider", "said"),
    [
        (
            "{address: tcp://127.0.0.1:8786}",
            "{base_url: http://127.0.0.1:1}",
            "is used only with execution.engine",
        ),
        (
            "{engine: dask, address: 127.0.0.1}",
            "{}",
            "execution.address: must be the address of a Dask scheduler",
        ),
        (
            "{engine: dask, address: 'tcp://127.0.0.1:8786'}",
            "{}",
            "provider.base_url: is required with execution",
        ),
        (
            "{engine: dask, address: 'tls://dask.example.com:8786'}",
            "{kind: gateway, base_url: https://gateway.example.com}",
            "execution.address: leads to other machines, which can't share a ledger that is a file",
        ),
    ],
    ids=["without dask", "no address", "simulator inside the run", "ledger in a file"],
)
def test_a_cluster_that_could_not_work_is_refused(
    tmp_path: Path, execution: str, provider: str, said: str
) -> None:
    assert said in mistakes(
        tmp_path, SMALL, f"execution={execution}", f"provider={provider}"
    )


def test_a_simulator_that_may_be_a_provider_is_refused(tmp_path: Path) -> None:
    """A simulated run asks nothing and counts no money."""
    gateway = "provider={kind: gateway, base_url: https://gateway.example.com}"
    said = mistakes(tmp_path, SMALL, gateway, "provider.kind=simulator")
    assert "provider.base_url: leads to another machine" in said
    here = "provider={kind: simulator, base_url: http://127.0.0.1:8080}"
    assert loaded(tmp_path, SMALL, here).provider.base_url


def test_other_machines_may_work_with_a_ledger_in_a_database(tmp_path: Path) -> None:
    config = loaded(
        tmp_path,
        SMALL,
        "execution={engine: dask, address: 'tcp://dask.example.com:8786'}",
        "provider={kind: gateway, base_url: https://gateway.example.com}",
        "ledger=postgresql+psycopg://pixmill@db.example.com/pixmill",
    )
    assert config.execution.is_elsewhere


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ("store=gs://bucket/x", "gs:// is not supported"),
        ("store=s3://", "does not name a bucket"),
        ("store=s3://key:secret@bucket/x", "must not contain credentials"),
        ("store=s3://bucket/a/../b", "an empty part, '.' or '..'"),
        ("store=s3://bucket/x?secret_key=hidden", "has no option 'secret_key'"),
        (
            "store=s3://bucket/x?endpoint_override=http://minio.example.com",
            "must be https",
        ),
        (
            "store=s3://bucket/x?endpoint_override=https://key:hidden@minio.example.com",
            "must not contain credentials",
        ),
        ("input.path=s3://bucket", "does not name an object"),
    ],
)
def test_a_place_that_is_none_is_a_mistake_that_repeats_no_secret(
    tmp_path: Path, setting: str, problem: str
) -> None:
    found = mistakes(tmp_path, SMALL, setting)
    assert problem in found
    assert "hidden" not in found
    assert "key:secret" not in found


def test_a_real_run_with_a_bucket_needs_a_ledger_beside_it(tmp_path: Path) -> None:
    gateway = "provider={kind: gateway, base_url: https://gateway.example.com}"
    assert "ledger: is required with a store in a bucket" in mistakes(
        tmp_path, SMALL, "store=s3://bucket/x", gateway
    )
    simulated = loaded(tmp_path, SMALL, "store=s3://bucket/x")
    assert simulated.ledger_address == simulated.store_path / "ledger.db"


def test_image_files_beside_a_table_in_a_bucket_are_refused(tmp_path: Path) -> None:
    table = (
        "input={path: s3://bucket/x.csv, columns: {image_file: photo, prompt: text}}"
    )
    assert "in a bucket there are none" in mistakes(tmp_path, SMALL, table)


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("s3://bucket/a/b", None),
        (
            "s3://bucket/a/b/?endpoint_override=minio.example.com:9000",
            "https://minio.example.com:9000",
        ),
        (
            "s3://bucket/a/b?endpoint_override=127.0.0.1:9000&scheme=http&region=eu-1",
            "http://127.0.0.1:9000",
        ),
    ],
)
def test_a_bucket_is_named_as_pyarrow_names_it(
    tmp_path: Path, url: str, endpoint: str | None
) -> None:
    address = loaded(
        tmp_path,
        SMALL,
        f"store={url}",
        "ledger=postgresql+psycopg://p@db.example.com/p",
    ).bucket
    assert address
    assert (address.bucket, address.prefix, address.endpoint) == (
        "bucket",
        "a/b/simulated",
        endpoint,
    )
    assert address.url == "s3://bucket/a/b/simulated"


def test_set_overrides_any_key_and_reads_its_value_as_yaml(tmp_path: Path) -> None:
    config = loaded(
        tmp_path,
        "name: pets\ninput: {path: a.csv, columns: {image_url: photo, prompt: text}}\n"
        "request: {params: {controlnet_args: [{type: depth, strength: 0.6}]}}\n",
        "limits.qps=7.5",
        "input.row_key=[id, lang]",
        "request.params.controlnet_args.0.strength=0.8",
        "input.columns.controlnet_args.0.strength=best",
    )
    assert config.limits.qps == 7.5
    assert config.input.row_key == ("id", "lang")
    assert config.request.params["controlnet_args"][0]["strength"] == 0.8
    assert config.input.field_columns == {"controlnet_args.0.strength": "best"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: [", "not valid YAML"),
        ("- a\n- b\n", "must be a mapping"),
        ("name: a\nname: b\n", "is duplicated"),
        ("name: a\ninput: {path: x, path: y}\n", "is duplicated"),
        ("input: {path: x}\n", "name: is required"),
        ("name: a\n", "input: is required"),
        (SMALL + "nmae: x\n", "did you mean `name`?"),
        (SMALL.replace("pets\n", "../x\n", 1), "name:"),
        *(
            (SMALL.replace("pets\n", f"{name}\n", 1), "folder of the store")
            for name in ("images", "simulated", "thumbs", "Images", "THUMBS")
        ),
        (SMALL + "seed: {policy: column}\n", "needs input.columns.seed"),
        (SMALL + "provider: {kind: gateway}\n", "provider.base_url: is required"),
        (
            SMALL
            + "provider: {kind: gateway, base_url: 'https://u:p@g.example.com'}\n",
            "neither credentials",
        ),
        (SMALL + "budget: {timezone: Mars/Olympus}\n", "is not a time zone"),
        (
            SMALL + "budget: {currency: eur}\n",
            "budget.currency: must be three capital letters (ISO 4217); did you mean EUR?",
        ),
        (SMALL + "budget: {currency: euro}\n", "did you mean EUR?"),
        (SMALL + "budget: {currency: credits}\n", "(ISO 4217), such as CNY"),
        (
            SMALL + "budget: {prices: [{price: 1}, {prise: 0.2}]}\n",
            "budget.prices.1.prise: unknown key; did you mean `price`?",
        ),
        (
            SMALL + "retry: {codes: {'*': {50500: {vertict: failed}}}}\n",
            "unknown key; did you mean `verdict`?",
        ),
        (SMALL + "request: {prompt: '{text'}\n", "is not a template"),
        (
            SMALL
            + "request: {params: {controlnet_args: [{type: depth, strength: 0.5, binary_data_index: 1}]}}\n",
            "has 1 input image(s)",
        ),
        (SMALL + "limits: {qps: .inf}\n", "limits.qps"),
        (
            SMALL + "budget: {max_cost_per_month: 5}\n",
            "budget.max_cost_per_month: needs budget.price_per_call",
        ),
        (
            SMALL
            + "budget: {prices: [{req_key: jimeng_t2i_v40, where: sise > 4, price: 1}]}\n",
            "budget.prices.0.where: `sise` is not a parameter of jimeng_t2i_v40; did you mean `size`?",
        ),
        (
            SMALL + "budget: {prices: [{where: seed > 4, price: 1}]}\n",
            "budget.prices.0.where: `seed` is not a parameter of any operation",
        ),
        (
            SMALL
            + "budget: {prices: [{where: controlnet_args.0.strenght > 0, price: 1}]}\n",
            "budget.prices.0.where: `controlnet_args.0.strenght` is not a parameter of any operation; "
            "did you mean `controlnet_args.0.strength`?",
        ),
        (
            SMALL + "budget: {prices: [{price: 1}, {where: steps > 4, price: 1}]}\n",
            "budget.prices.1.where: `steps` is not a parameter of any operation; "
            "did you mean `ddim_steps`?",
        ),
        (
            SMALL
            + "request: {req_key: unknown_key}\n"
            + "budget: {max_cost: 5, prices: [{price: 0.2, per: image}]}\n",
            "budget.prices: has a price per image for unknown_key",
        ),
        (
            SMALL
            + "request: {req_key: unknown_key}\n"
            + "budget: {max_cost_per_month: 5, price_per_call: 1, "
            + "prices: [{where: size > 4, price: 0.2, per: image}]}\n",
            "so no cap on cost can hold",
        ),
        (SMALL + "retry: {codes: {50500: wait}}\n", "retry.codes.*.50500.verdict: "),
        (
            SMALL + "retry: {codes: {some_key: {50500: {charged: maybe}}}}\n",
            "retry.codes.some_key.50500.charged: ",
        ),
        (SMALL + "retry: {codes: {10000: failed}}\n", "always means success"),
        (SMALL + "retry: {codes: {50500: {}}}\n", "needs a verdict"),
        (
            SMALL + "output: {images: inline}\nrequest: {params: {return_url: true}}\n",
            "request.params.return_url: is always false with output.images: inline",
        ),
        (
            "a: &a [x, x, x]\n"
            + "".join(
                f"{n}: &{n} [*{p}, *{p}, *{p}, *{p}, *{p}, *{p}, *{p}, *{p}, *{p}]\n"
                for p, n in zip("abcdefgh", "bcdefghi", strict=True)
            ),
            "expands to more than",
        ),
    ],
)
def test_one_mistake_is_one_clear_message(tmp_path: Path, text: str, said: str) -> None:
    """I2f: an unusable config is refused with the place of the mistake."""
    assert said in mistakes(tmp_path, text)


@pytest.mark.parametrize(
    "key",
    [
        "limits.qps",
        "limits.concurrency",
        "limits.timeout_seconds",
        "stop.images",
        "stop.window",
        "budget.max_calls",
        "budget.max_cost",
        "budget.price_per_call",
        "seed.base",
        "seed.replicates",
        "execution.workers",
        "execution.jobs_per_task",
        "input.max_prompt_chars",
        "request.params.scale",
        "request.params.ddim_steps",
        "request.params.logo_info.opacity",
    ],
)
def test_a_truth_value_is_not_a_number(tmp_path: Path, key: str) -> None:
    said = mistakes(tmp_path, SMALL, f"{key}=true")
    assert f"{key}: must be a " in said
    assert "number (got true)" in said


def test_a_missing_config_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / "none.yaml")
    assert "pixmill init" in caught.value.hint


def test_a_price_may_depend_on_any_parameter_of_an_unknown_req_key(
    tmp_path: Path,
) -> None:
    prices = (
        "[{where: anything > 1, price: 1}, {req_key: other, where: x > 1, price: 1}]"
    )
    loaded(tmp_path, SMALL, "request.req_key=some_new_key", f"budget.prices={prices}")


def test_a_price_for_a_req_key_that_nothing_has_is_a_warning_with_a_suggestion(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    key = "high_aes_scheduler_svr_controlnet_v2"
    loaded(tmp_path, SMALL, f"budget.prices=[{{req_key: {key}, price: 0.1}}]")
    assert f"budget.prices.0.req_key: pixmill does not know {key}" in caplog.text
    assert f"applies to nothing; did you mean `{key}.0`?" in caplog.text
    caplog.clear()
    for known in ("jimeng_t2i_v40", "high_aes_scheduler_svr_controlnet_v2.0"):
        loaded(tmp_path, SMALL, f"budget.prices=[{{req_key: {known}, price: 0.1}}]")
    assert "budget.prices" not in caplog.text
    asked = "budget.prices=[{req_key: my_own, price: 0.1}]"
    loaded(tmp_path, SMALL, "request.req_key=my_own", asked)
    assert "budget.prices" not in caplog.text


def test_an_unknown_req_key_passes_its_parameters_unchecked(tmp_path: Path) -> None:
    config = loaded(
        tmp_path,
        SMALL,
        "request.req_key=some_new_key",
        "request.params={anything: [1, {b: 2}]}",
    )
    assert config.request.params == {"anything": [1, {"b": 2}]}


def test_the_resolved_config_reads_back_as_the_same_config(tmp_path: Path) -> None:
    config = loaded(tmp_path, SMALL, "limits.qps=3", "input.row_key=[id]")
    assert loaded(tmp_path, config.to_yaml()) == config


def test_a_simulated_config_has_a_store_of_its_own(tmp_path: Path) -> None:
    assert loaded(tmp_path, SMALL).store_path == Path("out/simulated")
    gateway = "provider={kind: gateway, base_url: 'https://g.example.com'}"
    assert loaded(tmp_path, SMALL, gateway).store_path == Path("out")
