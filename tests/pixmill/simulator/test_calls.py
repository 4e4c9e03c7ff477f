"""Both URL forms authenticate, check and answer as documented."""

import base64
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests

from tests.pixmill.simulator.conftest import Running, Start, make_png

Asked = Callable[..., dict[str, Any]]
NO_IMAGE = base64.b64encode(b"no image").decode()
PIXEL = base64.b64encode(make_png()).decode()


def control(**changes: Any) -> list[dict[str, Any]]:
    return [{"type": "depth", "binary_data_index": 0, "strength": 0.6, **changes}]


def test_a_success_has_every_field_of_the_documented_example(
    simulator: Running, asked: Asked
) -> None:
    response = simulator.call(asked())

    answer = response.json()
    data = answer.pop("data")
    assert response.status_code == 200
    assert list(answer) == ["code", "message", "request_id", "status", "time_elapsed"]
    assert (answer["code"], answer["status"], answer["message"]) == (
        10000,
        10000,
        "Success",
    )
    assert re.fullmatch(r"\d{14}[0-9A-F]{20}", answer["request_id"])
    assert re.fullmatch(r"\d+(\.\d+)?(µs|ms|s)", answer["time_elapsed"])
    assert data["algorithm_base_resp"] == {
        "status_code": 0,
        "status_message": "Success",
    }
    assert data["binary_data_base64"] == []
    assert len(data["image_urls"]) == 1
    assert data["predict_tags_result"] == data["rephraser_result"] == ""
    assert re.fullmatch(r"[0-9a-f]{64}", data["request_id"])
    assert sorted(data) == [
        "algorithm_base_resp",
        "binary_data_base64",
        "image_urls",
        "predict_tags_result",
        "rephraser_result",
        "request_id",
    ]


def test_the_request_id_opens_with_the_time_in_beijing(
    simulator: Running, asked: Asked
) -> None:
    digits = simulator.call(asked()).json()["request_id"][:14]

    told = datetime.strptime(digits, "%Y%m%d%H%M%S").replace(tzinfo=UTC) - timedelta(
        hours=8
    )
    assert abs(datetime.now(UTC) - told) < timedelta(minutes=1)


def test_ampersands_are_escaped_as_the_provider_escapes_them(
    simulator: Running, asked: Asked
) -> None:
    response = simulator.call(asked())

    assert "\\u0026x-expires=" in response.text
    assert "&x-expires=" in response.json()["data"]["image_urls"][0]


def test_the_signed_form_gives_the_same_answer(
    simulator: Running, asked: Asked
) -> None:
    assert simulator.signed_call(asked()).json()["code"] == 10000


def test_a_wrong_bearer_key_is_refused_in_the_shape_of_the_reseller(
    simulator: Running, asked: Asked
) -> None:
    for key in ("wrong", ""):
        response = simulator.call(asked(), key=key)

        assert response.status_code == 401
        assert set(response.json()["error"]) == {"message", "type"}


def test_a_call_without_authorization_is_refused(simulator: Running) -> None:
    bearer = requests.post(
        f"{simulator.url}/volcv/v1?Action=CVProcess&Version=2022-08-31",
        json={},
        timeout=30,
    )
    signed = requests.post(
        f"{simulator.url}/?Action=CVProcess&Version=2022-08-31", json={}, timeout=30
    )

    assert bearer.status_code == signed.status_code == 401
    assert (
        signed.json()["ResponseMetadata"]["Error"]["Code"]
        == "MissingAuthenticationToken"
    )


@pytest.mark.parametrize(
    ("changes", "status", "code", "number"),
    [
        ({"secret_key": "wrong"}, 401, "SignatureDoesNotMatch", 100010),
        ({"access_key": "wrong"}, 401, "InvalidAccessKey", 100009),
        ({"session_token": "unknown"}, 401, "InvalidSecretToken", 0),
        (
            {"at": datetime.now(UTC) - timedelta(hours=1)},
            400,
            "InvalidTimestamp",
            100006,
        ),
    ],
)
def test_a_wrong_signature_is_refused_in_the_shape_of_the_gateway(
    simulator: Running,
    asked: Asked,
    changes: dict[str, Any],
    status: int,
    code: str,
    number: int,
) -> None:
    response = simulator.signed_call(asked(), **changes)

    metadata = response.json()["ResponseMetadata"]
    assert response.status_code == status
    assert (metadata["Error"]["Code"], metadata["Error"]["CodeN"]) == (code, number)
    assert (metadata["Action"], metadata["Service"], metadata["Region"]) == (
        "CVProcess",
        "cv",
        "cn-north-1",
    )


def test_a_session_token_is_asked_for_where_one_is_set(
    start: Start, asked: Asked
) -> None:
    simulator = start(session_token="STS==")

    assert simulator.signed_call(asked(), session_token="STS==").json()["code"] == 10000
    assert simulator.signed_call(asked()).status_code == 401


@pytest.mark.parametrize(
    "query",
    [{"Action": "CVDance", "Version": "2022-08-31"}, {"Action": "CVProcess"}, {}],
)
def test_an_unknown_action_or_version_is_not_found(
    simulator: Running, asked: Asked, query: dict[str, str]
) -> None:
    for response in (
        simulator.call(asked(), query=query),
        simulator.signed_call(asked(), query=query),
    ):
        assert response.status_code == 404
        assert (
            response.json()["ResponseMetadata"]["Error"]["Code"]
            == "InvalidActionOrVersion"
        )


def test_other_addresses_hold_nothing(simulator: Running) -> None:
    assert requests.get(simulator.url, timeout=30).status_code == 404
    assert requests.post(f"{simulator.url}/v1/images", timeout=30).status_code == 404
    assert (
        requests.get(f"{simulator.url}/images/../../etc/passwd", timeout=30).status_code
        == 404
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": -1},
        {"seed": 0},
        {"seed": 2**31 - 1},
        {"scale": 1},
        {"scale": 30.0},
        {"scale": None, "ddim_steps": None, "seed": None, "controlnet_args": None},
        {"ddim_steps": 1},
        {"controlnet_args": control(strength=1, type="pose")},
        {
            "controlnet_args": [
                *control(),
                *control(type="canny", binary_data_index=1),
            ],
            "image_urls": ["https://a"] * 2,
        },
        {"image_urls": [], "binary_data_base64": [PIXEL]},
        {
            "logo_info": {
                "add_logo": True,
                "position": 3,
                "language": 1,
                "logo_text_content": "mine",
            }
        },
        {"prompt": "一只狗"},
        {"an_undocumented_field": [1]},
    ],
)
def test_what_the_documentation_allows_is_accepted(
    simulator: Running, asked: Asked, changes: dict[str, Any]
) -> None:
    assert simulator.call(asked(**changes)).json()["code"] == 10000


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": " \n"}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"prompt": 7}, "prompt"),
        ({"seed": -2}, "seed"),
        ({"seed": 2**31}, "seed"),
        ({"seed": 1.5}, "seed"),
        ({"seed": True}, "seed"),
        ({"seed": "42"}, "seed"),
        ({"scale": 0.99}, "scale"),
        ({"scale": 30.1}, "scale"),
        ({"scale": float("nan")}, "scale"),
        ({"ddim_steps": 0}, "ddim_steps"),
        ({"ddim_steps": 51}, "ddim_steps"),
        ({"ddim_steps": 16.5}, "ddim_steps"),
        ({"use_rephraser": "yes"}, "use_rephraser"),
        ({"return_url": 1}, "return_url"),
        ({"controlnet_args": control()[0]}, "controlnet_args"),
        ({"controlnet_args": control(type="lineart")}, "controlnet_args"),
        ({"controlnet_args": control(type=["depth"])}, "controlnet_args"),
        ({"controlnet_args": control(strength=0)}, "controlnet_args"),
        ({"controlnet_args": control(strength=1.01)}, "controlnet_args"),
        ({"controlnet_args": [{"type": "depth"}]}, "controlnet_args"),
        ({"logo_info": {"position": 4}}, "logo_info is wrong: position"),
        ({"logo_info": "mine"}, "logo_info"),
        ({"sr_strength": 1.5}, "sr_strength"),
    ],
)
def test_a_field_that_the_documentation_forbids_is_named(
    simulator: Running, asked: Asked, changes: dict[str, Any], field: str
) -> None:
    response = simulator.call(asked(**changes))

    answer = response.json()
    assert response.status_code == 400
    assert (answer["code"], answer["status"], answer["data"]) == (50200, 50200, None)
    assert answer["message"].startswith(f"{field} must ")


@pytest.mark.parametrize(
    "changes",
    [
        {"prompt": "half a \ud800 pair"},
        {"image_urls": None},
        {"image_urls": []},
        {"image_urls": "https://images.example/in.jpg"},
        {"image_urls": ["ftp://images.example/in.jpg"]},
        {"image_urls": [None]},
        {"binary_data_base64": [PIXEL]},
        {"image_urls": None, "binary_data_base64": ["not base64!"]},
        {"image_urls": None, "binary_data_base64": [""]},
        {"image_urls": None, "binary_data_base64": [NO_IMAGE]},
        {"controlnet_args": control(binary_data_index=1)},
        {"controlnet_args": control(binary_data_index=-1)},
    ],
)
def test_input_images_that_the_documentation_forbids_are_invalid(
    simulator: Running, asked: Asked, changes: dict[str, Any]
) -> None:
    response = simulator.call(asked(**changes))

    answer = response.json()
    assert response.status_code == 400
    assert (answer["code"], answer["status"], answer["data"]) == (50215, 50215, None)
    assert answer["message"] == "Input invalid for this service."


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'"text"', b"\xff\xfe", b"[" * 100_000]
)
def test_a_body_that_is_no_request_is_invalid(simulator: Running, body: bytes) -> None:
    assert simulator.call(body).json()["code"] == 50215


@pytest.mark.parametrize(
    "req_key", ["unknown_v1", None, 7, ["high_aes_scheduler_svr_controlnet_v2.0"]]
)
def test_an_unknown_req_key_is_denied(
    simulator: Running, asked: Asked, req_key: Any
) -> None:
    response = simulator.call(asked(req_key=req_key))

    assert response.status_code == 401
    assert response.json()["code"] == 50400
    assert response.json()["message"].startswith("Access Denied")


def test_the_rephraser_lengthens_the_prompt_the_same_way_every_time(
    simulator: Running, asked: Asked
) -> None:
    def rephrased(**changes: Any) -> str:
        result: str = simulator.call(asked(use_rephraser=True, **changes)).json()[
            "data"
        ]["rephraser_result"]
        return result

    assert rephrased().startswith("a cat on a hill at sunset, ")
    assert rephrased() == rephrased(seed=43)
    assert re.search("[一-龥]。$", rephrased(prompt="一只狗"))


def test_the_rephraser_is_on_by_default(simulator: Running, asked: Asked) -> None:
    assert simulator.call(asked(use_rephraser=None)).json()["data"]["rephraser_result"]
