"""Bodies of provider replies as documented, and the way to read one: for the tests of answers."""

import base64
import json
from typing import Any

from requests.structures import CaseInsensitiveDict

from pixmill.http.transport import Reply
from pixmill.provider.error_codes import code_table
from pixmill.provider.responses import Response, read_answer

TABLE = code_table("high_aes_scheduler_svr_controlnet_v2.0")
URL = "https://p3-aiop-sign.byteimg.com/tos-cn-i-x/2~tplv.image?rk3s=1&x-expires=1736856432&x-signature=a%3D"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(255))
PNG64 = base64.b64encode(PNG).decode()


def success(**data: Any) -> dict[str, Any]:
    """A success as documented; `data` replaces fields of its data, and `...` removes one."""
    fields: dict[str, Any] = {
        "algorithm_base_resp": {"status_code": 0, "status_message": "Success"},
        "binary_data_base64": [],
        "image_urls": [URL],
        "predict_tags_result": "",
        "rephraser_result": "a cat, detailed",
        "request_id": "0444b943" * 8,
        **data,
    }
    return {
        "code": 10000,
        "data": {name: value for name, value in fields.items() if value is not ...},
        "message": "Success",
        "request_id": "202501132006376AA642D2FBD42465DF60",
        "status": 10000,
        "time_elapsed": "5.861744206s",
    }


def error(code: object, message: str = "Text Risk Not Pass") -> dict[str, Any]:
    """A service error as documented."""
    return {
        "code": code,
        "data": None,
        "message": message,
        "request_id": "2025",
        "status": code,
        "time_elapsed": "96.333µs",
    }


def gateway_error(
    code: object, number: object = None, message: str = "no"
) -> dict[str, Any]:
    """An error of the OpenAPI gateway as documented."""
    refusal = {"CodeN": number, "Code": code, "Message": message}
    return {
        "ResponseMetadata": {
            "RequestId": "2025GW",
            "Action": "CVProcess",
            "Error": refusal,
        }
    }


def read(body: object, status: int = 200, **headers: str) -> Response:
    """Read a body, bytes as they are and anything else as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return read_answer(Reply(status, CaseInsensitiveDict(named), content), TABLE)
