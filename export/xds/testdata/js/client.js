// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Calls a health service at a target, xds:///NAME, for each line of its standard input, and prints which
// backend answered, or the error. The bootstrap file is in GRPC_XDS_BOOTSTRAP.
// usage: node client.js TARGET
import readline from 'node:readline';
import grpc from '@grpc/grpc-js';
import xds from '@grpc/grpc-js-xds';

xds.register();
const client = new grpc.Client(process.argv[2], grpc.credentials.createInsecure());
const bytes = (b) => b;

function call() {
  return new Promise((resolve) => {
    let backend = '';
    const metadata = new grpc.Metadata({ waitForReady: true });
    const options = { deadline: Date.now() + 20_000 };
    const done = (err) => resolve(err ? `error ${err.message}` : backend);
    client.makeUnaryRequest('/grpc.health.v1.Health/Check', bytes, bytes, Buffer.alloc(0), metadata, options, done)
      .on('metadata', (m) => { [backend] = m.get('backend'); });
  });
}

for await (const _ of readline.createInterface({ input: process.stdin })) {
  console.log(await call());
}
client.close();
process.exit(0);
