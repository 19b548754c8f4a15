#!/usr/bin/env python3
# Copyright 2026 The Kubernetes Authors.
# SPDX-License-Identifier: Apache-2.0
"""A sink in Python: keeps the Services of the node in a file of JSON.

usage: kpng run --from SOURCE --to 'exec:./sink.py FILE'
"""
import json
import os
import sys


def name(service):
    origin = service["origin"] + ":" if service["origin"] else ""
    return f'{origin}{service["namespace"]}/{service["name"]}'


path = sys.argv[1]
state = {"node": None, "services": {}}
for line in sys.stdin:
    update = json.loads(line)
    if update["full"]:
        state["services"].clear()
    state["node"] = update.get("node", state["node"])
    for service in update["changed"]:
        state["services"][name(service)] = service
    for removed in update["removed"]:
        state["services"].pop(removed, None)
    try:
        with open(path + ".new", "w") as file:
            json.dump(state, file, indent=1, sort_keys=True)
        os.replace(path + ".new", path)
        answer = {"ok": update["revision"]}
    except OSError as error:
        answer = {"error": str(error)}
    print(json.dumps(answer), flush=True)
