#!/usr/bin/env python3
# Copyright 2026 The Kubernetes Authors.
# SPDX-License-Identifier: Apache-2.0
"""A source in Python: Services from a text file, read again each second.

Each line is NAME ADDRESS:PORT ENDPOINT:PORT..., such as web 10.96.0.10:80 10.244.1.4:8080

usage: kpng run --from 'exec:./source.py FILE' --to SINK
"""
import json
import sys
import time


def read(path):
    objects = {}
    for name, address, *endpoints in (line.split() for line in open(path) if line.strip()):
        ip, port = address.rsplit(":", 1)
        meta = {"namespace": "default", "name": name}
        objects["Service", name] = {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {
            "clusterIP": ip, "ports": [{"name": "p", "port": int(port)}]}}
        for endpoint in endpoints:
            ip, port = endpoint.rsplit(":", 1)
            slice_name = f"{name}-{ip}-{port}"
            objects["EndpointSlice", slice_name] = {
                "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
                "metadata": {"namespace": "default", "name": slice_name,
                             "labels": {"kubernetes.io/service-name": name}},
                "ports": [{"name": "p", "port": int(port)}], "endpoints": [{"addresses": [ip]}]}
    return objects


last = None
while True:
    now = read(sys.argv[1])
    if now != last:
        old, last = last or {}, now
        update = {"full": not old, "changed": [o for k, o in now.items() if o != old.get(k)],
                  "removed": [o for k, o in old.items() if k not in now]}
        print(json.dumps(update), flush=True)
        answer = json.loads(sys.stdin.readline() or sys.exit())
        if "error" in answer:
            print(answer["error"], file=sys.stderr)
    time.sleep(1)
