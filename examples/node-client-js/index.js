// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// A client of NodeService: prints the desired state of a node, and prints it again after
// each change.
//
//   node index.js --server HOST:PORT --node NAME [--ca FILE] [--token-file FILE] [--once] [--help]
//
// It needs no generated code, because it loads the .proto files. session.proto describes the
// order of messages, node.proto their content.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import grpc from '@grpc/grpc-js';
import protoLoader from '@grpc/proto-loader';
import { assemble, ip, text } from './state.js';

const usage = 'usage: node index.js [--server HOST:PORT] --node NAME [--ca FILE] [--token-file FILE] [--once] [--help]';

function parseFlags() {
  const { values } = parseArgs({
    options: {
      server: { type: 'string', default: '127.0.0.1:10270' }, node: { type: 'string' }, ca: { type: 'string' },
      'token-file': { type: 'string' }, once: { type: 'boolean', default: false }, help: { type: 'boolean', short: 'h' },
    },
  });
  if (values.help) {
    console.log(usage);
    process.exit(0);
  }
  if (!values.node) throw new Error('--node: required');
  if (values['token-file'] && !values.ca) throw new Error('--token-file: requires --ca');
  return values;
}

let flags;
try {
  flags = parseFlags();
} catch (err) {
  console.error(`node-client-js: ${err.message}\n${usage}`);
  process.exit(2);
}

const api = fileURLToPath(new URL('../../api', import.meta.url));
const definition = protoLoader.loadSync('kpng/v1alpha1/node.proto', {
  includeDirs: [api], longs: String, enums: String, defaults: true, arrays: true, oneofs: true,
});
const { NodeService } = grpc.loadPackageDefinition(definition).kpng.v1alpha1;

function credentials() {
  if (!flags.ca) return grpc.credentials.createInsecure();
  const tls = grpc.credentials.createSsl(readFileSync(flags.ca));
  if (!flags['token-file']) return tls;
  const token = grpc.credentials.createFromMetadataGenerator((_, done) => {
    const metadata = new grpc.Metadata();
    metadata.set('authorization', 'Bearer ' + readFileSync(flags['token-file'], 'utf8').trim());
    done(null, metadata);
  });
  return grpc.credentials.combineChannelCredentials(tls, token);
}

const minPause = 100;
let pause = minPause; // before the next attempt to connect, in ms; doubles up to 10 s

// The state of the last Commit. It survives streams: the client sends the digests of its
// Services, and the server sends only differences.
const state = { services: new Map(), overlays: new Map(), node: { name: flags.node, ips: [] } };

// newUpdate returns an empty update: what a stream has received since its last Commit.
const newUpdate = () => ({ services: new Map(), overlays: new Map(), node: null, removedDigests: [] });

// watch runs one stream. It calls ended with the error of the stream, or null.
function watch(client, ended) {
  const stream = client.watchNode();
  let fullSync = false;
  let update = newUpdate();
  for (const name of state.overlays.keys()) update.overlays.set(name, null); // each stream sends all overlays
  const digests = () => [...state.services.values()].map((s) => s.digest);
  stream.write({ hello: {
    nodeName: flags.node,
    knownNode: state.node.ips.length > 0 ? state.node : null, // used while the Node object is missing
    hello: {
      client: 'node-client-js', capabilities: ['CAPABILITY_RESUME', 'CAPABILITY_ACKNOWLEDGE', 'CAPABILITY_ORIGINS'],
      heldDigestsXor: digests().reduce((xor, d) => xor ^ BigInt(d), 0n).toString(), heldCount: state.services.size,
    },
  } });
  stream.on('data', (message) => {
    if (message.welcome) {
      fullSync = message.welcome.fullSync;
      if (message.welcome.sendDigests) sendHeldDigests(stream, digests());
    }
    for (const c of message.services) update.services.set(nameOf(c), c.service ? c : null);
    for (const o of message.overlays) update.overlays.set(nameOf(o), o);
    update.removedDigests.push(...message.removedDigests);
    update.node = message.node ?? update.node;
    if (!message.commit) return;
    pause = minPause;
    const start = process.hrtime.bigint();
    commit(update, fullSync);
    const received = [...update.services.values()].filter(Boolean).length;
    console.error(`revision ${message.commit.revision}: ${received} Services received, ${state.services.size} held`);
    fullSync = false;
    update = newUpdate();
    apply();
    stream.write({ ack: { revision: message.commit.revision, durationNs: (process.hrtime.bigint() - start).toString() } });
    if (flags.once) stream.end();
  });
  stream.on('error', ended); // may be followed by end
  stream.on('end', () => ended(null));
}

// nameOf returns the name of a Service, or of another object behind its origin.
const nameOf = ({ namespace, name, origin }) => `${origin && origin + ':'}${namespace}/${name}`;

// sendHeldDigests sends digests in messages of at most 64 KiB.
function sendHeldDigests(stream, digests) {
  for (let at = 0, last = false; !last; at += 8192) {
    last = at + 8192 >= digests.length;
    stream.write({ heldDigests: { digests: digests.slice(at, at + 8192), last } });
  }
}

// commit applies a complete update to the state.
function commit(update, fullSync) {
  if (fullSync) state.services.clear();
  const removed = new Set(update.removedDigests);
  for (const [name, s] of state.services) if (removed.has(s.digest)) state.services.delete(name);
  for (const [held, changes] of [[state.services, update.services], [state.overlays, update.overlays]]) {
    for (const [name, change] of changes) change ? held.set(name, change) : held.delete(name);
  }
  state.node = update.node ?? state.node;
}

// apply prints the state. A real client programs its dataplane here, and sends the error of
// a failure in ack.error.
function apply() {
  let out = `# node ${state.node.name} [${state.node.ips.map(ip).join(' ')}]${state.node.deleting ? ' deleting' : ''}\n`;
  const byName = ([, a], [, b]) => compare(a.namespace, b.namespace) || compare(a.name, b.name) || compare(a.origin, b.origin);
  for (const [name, s] of [...state.services].sort(byName)) {
    out += text(name, assemble(s.service, state.overlays.get(name), state.node));
  }
  process.stdout.write(out);
}

const compare = (a, b) => (a < b ? -1 : a > b ? 1 : 0);

const client = new NodeService(flags.server, credentials(), { 'grpc.max_receive_message_length': 64 << 20 });
(function connect() {
  let done = false;
  watch(client, (err) => {
    if (done) return;
    done = true;
    if (flags.once && !err) return client.close();
    console.error(`Server connection failed, retrying; Services are kept: ${err?.message ?? 'stream ended'}`);
    setTimeout(connect, pause * (0.5 + Math.random() / 2));
    pause = Math.min(2 * pause, 10000);
  });
})();
