#!/usr/bin/env node
// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0
// A sink in JavaScript: keeps a table of the endpoints behind each address in a file.
// usage: kpng run --from SOURCE --to 'exec:./sink.mjs FILE'
import { renameSync, writeFileSync } from 'node:fs'
import { createInterface } from 'node:readline'

const path = process.argv[2]
const services = new Map()
let node = {}

function* table() {
  yield `node ${JSON.stringify(node)}`
  for (const name of [...services.keys()].sort()) {
    yield `service ${name} ${JSON.stringify({ ...services.get(name), ports: [], text: '' })}`
    for (const { frontends, pools, ...port } of services.get(name).ports) {
      for (const frontend of frontends) yield `  ${port.protocol} ${JSON.stringify(frontend)}`
      for (const [i, pool] of pools.entries()) yield `    pool ${i}: ${JSON.stringify(pool.endpoints)}`
      yield `    ${JSON.stringify(port)}`
    }
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const update = JSON.parse(line)
  if (update.full) services.clear()
  node = update.node ?? node
  for (const s of update.changed) services.set(`${s.origin && s.origin + ':'}${s.namespace}/${s.name}`, s)
  for (const name of update.removed) services.delete(name)
  try {
    writeFileSync(path + '.new', [...table()].join('\n') + '\n')
    renameSync(path + '.new', path)
    console.log(JSON.stringify({ ok: update.revision }))
  } catch (error) {
    console.log(JSON.stringify({ error: error.message }))
  }
}
