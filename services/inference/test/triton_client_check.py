"""Triton's own client, as it comes from PyPI, against both faces of the service.

usage: triton_client_check.py <host:port of HTTP> <host:port of gRPC> <JSON file with our messages>
The models are those of harness/oip-models.ts. Prints one line per check; the first that fails ends it with its traceback.
"""

import json
import sys

import numpy as np
import tritonclient.grpc as grpcclient
import tritonclient.http as httpclient
from tritonclient.grpc import model_config_pb2, service_pb2
from tritonclient.utils import InferenceServerException

PIXELS = np.array([[[[1.5, 2, 3, 4]]], [[[8, 7, 6, 5]]]], dtype=np.float32)


def check(name, holds):
    assert holds, name
    print(f"ok {name}")


def refused(name, status, call):
    try:
        call()
    except InferenceServerException as error:
        check(f"{name}: {error.status()}", str(error.status()) == status)
    else:
        check(f"{name}: refused", False)


def tensor(module, name, array, datatype, **how):
    of = module.InferInput(name, list(array.shape), datatype)
    of.set_data_from_numpy(array, **how)
    return of


def health(face, client):
    check(f"{face} live", client.is_server_live())
    check(f"{face} ready", client.is_server_ready())
    check(f"{face} model ready", client.is_model_ready("pixels"))
    check(f"{face} model version ready", client.is_model_ready("pixels", "1"))
    check(f"{face} unknown model not ready", not client.is_model_ready("nobody"))


def infer(face, module, client, ways):
    for how, wanted in ways:
        inputs = [tensor(module, "x", PIXELS, "FP32", **how)]
        outputs = None if wanted is None else [module.InferRequestedOutput("y", **wanted)]
        result = client.infer("pixels", inputs, outputs=outputs, request_id="r-1", model_version="1")
        array = result.as_numpy("y")
        check(f"{face} infer {how} {wanted}", array.dtype == np.float32 and np.array_equal(array, PIXELS.reshape(2, 4)))

    result = client.infer("pixels", [tensor(module, "x", PIXELS, "FP32")], priority=1, timeout=5_000_000)
    check(f"{face} priority and timeout", result.as_numpy("y").shape == (2, 4))

    outputs = [module.InferRequestedOutput("y", class_count=2)]
    result = client.infer("pixels", [tensor(module, "x", PIXELS, "FP32")], outputs=outputs)
    rows = [[text.decode() for text in row] for row in result.as_numpy("y")]
    check(
        f"{face} classification",
        rows == [["4.000000:3:three", "3.000000:2:two"], ["8.000000:0:zero", "7.000000:1:one"]],
    )

    words = np.array(["", "Brink", "边缘"], dtype=np.object_)
    result = client.infer("echo-text", [tensor(module, "text", words, "BYTES")])
    texts = [text.decode() for text in result.as_numpy("text.out")]
    check(f"{face} BYTES", texts == ["", "Brink", "边缘"])

    half = np.array([0.5, -2], dtype=np.float16)
    result = client.infer("echo-half", [tensor(module, "half", half, "FP16")])
    check(f"{face} FP16", np.array_equal(result.as_numpy("half.out"), half))

    big = np.array([2**53 + 1, -(2**63)], dtype=np.int64)
    floats = np.array([0.1, 0.2], dtype=np.float32)
    result = client.infer("echo-two", [tensor(module, "a", floats, "FP32"), tensor(module, "b", big, "INT64")])
    check(f"{face} int64 exactly", np.array_equal(result.as_numpy("b.out"), big))


def over_http(url):
    client = httpclient.InferenceServerClient(url)
    health("http", client)
    said = client.get_server_metadata()
    check("http server metadata", said["name"] == "brink" and "binary_tensor_data" in said["extensions"])
    said = client.get_model_metadata("pixels")
    check("http model metadata", said["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 1, 1, 4]}])
    said = client.get_model_config("pixels")
    check("http model config", said["max_batch_size"] == 8 and said["input"][0]["dims"] == [1, 1, 4])

    plain, binary = {"binary_data": False}, {"binary_data": True}
    ways = [(binary, binary), (binary, plain), (plain, binary), (plain, plain), (binary, None)]
    infer("http", httpclient, client, ways)
    inputs = [tensor(httpclient, "x", PIXELS, "FP32")]
    for packed in ("gzip", "deflate"):
        result = client.infer(
            "pixels", inputs, request_compression_algorithm=packed, response_compression_algorithm=packed
        )
        check(f"http {packed}", np.array_equal(result.as_numpy("y"), PIXELS.reshape(2, 4)))
    result = client.async_infer("pixels", inputs).get_result()
    check("http async", np.array_equal(result.as_numpy("y"), PIXELS.reshape(2, 4)))
    check("http id", client.infer("pixels", inputs, request_id="r-1").get_response()["id"] == "r-1")
    refused("http unknown model", "404", lambda: client.infer("nobody", inputs))
    refused("http sequence", "501", lambda: client.infer("pixels", inputs, sequence_id=3, sequence_start=True))

    stats = client.get_inference_statistics("pixels", "1")["model_stats"][0]
    check("http statistics", stats["inference_stats"]["success"]["count"] > 0 and stats["inference_count"] > 0)
    check("http statistics of all", len(client.get_inference_statistics()["model_stats"]) > 1)

    index = {entry["name"]: entry["state"] for entry in client.get_model_repository_index()}
    check("http repository index", index["pixels"] == "READY")
    client.unload_model("echo-half")
    check("http unload", not client.is_model_ready("echo-half"))
    client.load_model("echo-half")
    check("http load", client.is_model_ready("echo-half"))
    refused("http load with a config", "501", lambda: client.load_model("pixels", config="{}"))
    client.close()


def over_grpc(url):
    client = grpcclient.InferenceServerClient(url)
    health("grpc", client)
    said = client.get_server_metadata()
    check("grpc server metadata", said.name == "brink" and "statistics" in said.extensions)
    said = client.get_model_metadata("pixels", as_json=True)
    check("grpc model metadata", said["platform"] == "onnx_onnxv1" and said["inputs"][0]["shape"] == ["-1", "1", "1", "4"])
    config = client.get_model_config("pixels").config
    check("grpc model config", config.max_batch_size == 8 and config.platform == "onnxruntime_onnx")

    infer("grpc", grpcclient, client, [({}, None), ({}, {})])
    inputs = [tensor(grpcclient, "x", PIXELS, "FP32")]
    check("grpc id", client.infer("pixels", inputs, request_id="r-1").get_response().id == "r-1")
    refused("grpc unknown model", "StatusCode.NOT_FOUND", lambda: client.infer("nobody", inputs))
    refused("grpc sequence", "StatusCode.UNIMPLEMENTED", lambda: client.infer("pixels", inputs, sequence_id=3))
    result = client.infer("pixels", inputs, client_timeout=20, compression_algorithm="gzip")
    check("grpc gzip", np.array_equal(result.as_numpy("y"), PIXELS.reshape(2, 4)))
    over_stream(client, inputs)

    stats = client.get_inference_statistics("pixels", "1").model_stats[0]
    check("grpc statistics", stats.inference_stats.success.count > 0 and len(stats.batch_stats) > 0)
    index = {entry.name: entry.state for entry in client.get_model_repository_index().models}
    check("grpc repository index", index["pixels"] == "READY")
    client.unload_model("echo-half")
    check("grpc unload", not client.is_model_ready("echo-half"))
    client.load_model("echo-half")
    check("grpc load", client.is_model_ready("echo-half"))
    client.close()


def over_stream(client, inputs):
    import queue

    came = queue.Queue()
    client.start_stream(callback=lambda result, error: came.put((result, error)))
    for at in range(5):
        client.async_stream_infer("pixels" if at != 2 else "nobody", inputs, request_id=str(at))
    answers = [came.get(timeout=20) for _ in range(5)]
    client.stop_stream()
    ids = [None if result is None else result.get_response().id for result, _ in answers]
    check("grpc stream in order", [ids[0], ids[1], ids[3], ids[4]] == ["0", "1", "3", "4"])
    check("grpc stream says what is wrong", "E_MODEL_UNKNOWN" in str(answers[2][1]))


def same_messages(file):
    """Every message and field of ours is Triton's: the same number, the same type."""
    with open(file) as text:
        ours = json.load(text)
    modules = (service_pb2, model_config_pb2)
    known = {name: of for module in modules for name, of in module.DESCRIPTOR.message_types_by_name.items()}
    for name, fields in ours["messages"].items():
        path = name.split(".")[1:]
        of = known[path[0]]
        for nested in path[1:]:
            of = of.nested_types_by_name[nested]
        for field, (number, scalar) in fields.items():
            theirs = of.fields_by_name[field]
            check(f"{name}.{field} = {number}", theirs.number == number and scalar in (None, theirs.type))
    calls = {call.name: call for call in service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods}
    for name, (asked, answered) in ours["calls"].items():
        of = calls[name]
        check(f"{name}", [of.input_type.full_name, of.output_type.full_name] == [asked, answered])


same_messages(sys.argv[3])
over_http(sys.argv[1])
over_grpc(sys.argv[2])
print("all well")
