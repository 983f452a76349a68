# SPDX-License-Identifier: MIT
"""A gRPC server of bytes, without generated code: server.py ADDRESS [CERTIFICATE KEY]."""

import concurrent.futures
import signal
import sys
import threading
import time

import grpc
import grpc_health.v1.health as health
import grpc_health.v1.health_pb2_grpc as health_grpc

cancelled = threading.Semaphore(0)


def unary(message, _):
    return message


def refused(message, context):
    context.set_trailing_metadata((("why", "because"),))
    context.abort(grpc.StatusCode.NOT_FOUND, "nothing here: 100 % sure, \u00fc")


def slow(message, context):
    time.sleep(3)
    return message


def quiet(message, context):
    time.sleep(50)
    return message


def numbers(message, _):
    for number in range(int(message)):
        yield b"%d" % number


def endless(_, context):
    context.add_callback(cancelled.release)
    number = 0
    while context.is_active():
        yield b"%d" % number
        number += 1
        time.sleep(0.001)


def ended(message, _):
    """How many endless answers were cancelled: waits until there are so many."""
    for number in range(int(message)):
        if not cancelled.acquire(timeout=10):
            return b"%d" % number
    return message


def breaks(message, context):
    yield b"one"
    context.abort(grpc.StatusCode.DATA_LOSS, "in the middle")


def total(messages, _):
    return b"%d" % sum(len(message) for message in messages)


def both(messages, _):
    for message in messages:
        yield message[::-1]


HANDLERS = {
    "Unary": grpc.unary_unary_rpc_method_handler(unary),
    "Refused": grpc.unary_unary_rpc_method_handler(refused),
    "Slow": grpc.unary_unary_rpc_method_handler(slow),
    "Quiet": grpc.unary_unary_rpc_method_handler(quiet),
    "Ended": grpc.unary_unary_rpc_method_handler(ended),
    "Numbers": grpc.unary_stream_rpc_method_handler(numbers),
    "Endless": grpc.unary_stream_rpc_method_handler(endless),
    "Breaks": grpc.unary_stream_rpc_method_handler(breaks),
    "Total": grpc.stream_unary_rpc_method_handler(total),
    "Both": grpc.stream_stream_rpc_method_handler(both),
}


def main():
    address, *pair = sys.argv[1:]
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(512))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", HANDLERS),))
    servicer = health.HealthServicer()
    health_grpc.add_HealthServicer_to_server(servicer, server)
    if pair:
        cert, key = (open(name, "rb").read() for name in pair)
        server.add_secure_port(address, grpc.ssl_server_credentials([(key, cert)]))
    else:
        server.add_insecure_port(address)
    server.start()
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.stop, args=(2,)).start())
    print("ready", flush=True)
    server.wait_for_termination()


main()
