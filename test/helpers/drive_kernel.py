"""Runs cells on the steerlab kernel through jupyter_client and prints what came back, as JSON.

stdin: {"cwd": folder, "cells": [{"code": str, "silent"?: bool, "pause"?: seconds, "askOn"?: text (asks for the kernel's
info when that is printed, as a reloaded page does), and one of "interruptAfter": seconds, "interruptOn": text (with
"interruptTimes": int), "inspectAt": position, "completeAt": position}], "together"?: bool}.
stdout: {"cells": [{"reply", "messages": [{"type", "content"}]}], "late": [...], "statuses": ["busy" or "idle", in order]}.
"together" sends all requests at once, as JupyterLab's "run all" does.
"""

import json
import sys
import threading
import time

from jupyter_client.manager import start_new_kernel


STATUSES = []


def next_message(client, timeout):
    message = client.get_iopub_msg(timeout=timeout)
    if message["msg_type"] == "status":
        STATUSES.append(message["content"]["execution_state"])
    return message


def collect(client, msg_id, on_text=lambda text: None, limit=200):
    messages = []
    end = time.time() + limit
    while time.time() < end:
        message = next_message(client, max(0.1, end - time.time()))
        if message["parent_header"].get("msg_id") != msg_id:
            continue
        messages.append({"type": message["msg_type"], "content": message["content"]})
        if message["msg_type"] == "stream":
            on_text(message["content"]["text"])
        if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
            return messages
    raise TimeoutError("no idle status")


def reply_to(client, msg_id):
    while True:
        reply = client.get_shell_msg(timeout=120)
        if reply["parent_header"].get("msg_id") == msg_id:
            return reply["content"]


def interrupt_on_text(manager, cell):
    """Interrupts `interruptTimes` (default 1) times, a second apart, when the cell first prints `interruptOn`."""
    waiting = [True]

    def on_text(text):
        if waiting[0] and cell.get("interruptOn", "\0") in text:
            waiting[0] = False
            for i in range(cell.get("interruptTimes", 1)):
                threading.Timer(0.1 + i, manager.interrupt_kernel).start()

    return on_text


def ask_on_text(client, cell):
    asked = []

    def on_text(text):
        if not asked and cell.get("askOn", "\0") in text:
            asked.append(client.kernel_info())

    return on_text


def request(client, cell):
    if "inspectAt" in cell:
        return client.inspect(cell["code"], cell["inspectAt"])
    if "completeAt" in cell:
        return client.complete(cell["code"], cell["completeAt"])
    return client.execute(cell["code"], silent=cell.get("silent", False))


def run(client, manager, cell):
    msg_id = request(client, cell)
    if "interruptAfter" in cell:
        threading.Timer(cell["interruptAfter"], manager.interrupt_kernel).start()
    started = time.time()
    handlers = [interrupt_on_text(manager, cell), ask_on_text(client, cell)]
    messages = collect(client, msg_id, lambda text: [handler(text) for handler in handlers])
    seconds = time.time() - started
    reply = reply_to(client, msg_id)
    time.sleep(cell.get("pause", 0))
    return {"reply": reply, "messages": messages, "seconds": seconds}


def late_messages(client):
    found = []
    while True:
        try:
            message = next_message(client, 0.3)
        except Exception:
            return found
        if message["msg_type"] != "status":
            found.append({"type": message["msg_type"], "content": message["content"]})


def main():
    job = json.load(sys.stdin)
    manager, client = start_new_kernel(kernel_name="steerlab", cwd=job["cwd"], startup_timeout=60)
    try:
        if job.get("together"):
            ids = [client.execute(cell["code"]) for cell in job["cells"]]
            messages = [collect(client, msg_id) for msg_id in ids]
            cells = [{"reply": reply_to(client, i), "messages": m, "seconds": 0} for i, m in zip(ids, messages)]
        else:
            cells = [run(client, manager, cell) for cell in job["cells"]]
        late = late_messages(client)
        info = client.kernel_info(reply=True, timeout=20)["content"]
    finally:
        started = time.time()
        client.stop_channels()
        manager.shutdown_kernel(now=False)
        shutdown = time.time() - started
    json.dump({"cells": cells, "late": late, "info": info, "statuses": STATUSES, "shutdownSeconds": shutdown}, sys.stdout)


main()
