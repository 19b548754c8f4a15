// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// A node's end of the gRPC endpoint: prints what the node must do, and prints it again
// whenever that changes.
//
//   node index.js --server HOST:PORT --node NAME [--ca FILE] [--token-file FILE] [--once]
//
// It needs no generated code: the .proto files are read as they are. How a stream goes
// is in session.proto; what is in it, in node.proto.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import grpc from '@grpc/grpc-js';
import protoLoader from '@grpc/proto-loader';
import { assemble, ip, text } from './state.js';

const { values: flags } = parseArgs({
  options: {
    server: { type: 'string', default: '127.0.0.1:10270' }, node: { type: 'string' }, ca: { type: 'string' },
    'token-file': { type: 'string' }, once: { type: 'boolean', default: false },
  },
});
if (!flags.node) {
  console.error('node-client-js: --node is missing');
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

const shortest = 100;
let pause = shortest; // before the next try, in ms; grows while there is no server

// What servers have said up to the last commit. It outlives streams: a server is told by
// digests what is here, and sends the rest.
const said = { services: new Map(), own: new Map(), node: { name: flags.node, ips: [] } };

// watch is one stream. It calls ended once, with what ended it.
function watch(client, ended) {
  const stream = client.watchNode();
  let startOver = false;
  let heard = { services: new Map(), own: new Map(), node: null, unwanted: [] }; // since the last commit
  for (const name of said.own.keys()) heard.own.set(name, null); // comes whole on each stream
  const digests = () => [...said.services.values()].map((s) => s.digest);
  stream.write({ hello: {
    nodeName: flags.node,
    hello: {
      client: 'node-client-js', capabilities: ['CAPABILITY_RESUME', 'CAPABILITY_ACKNOWLEDGE'],
      heldRoot: digests().reduce((root, d) => root ^ BigInt(d), 0n).toString(), heldCount: said.services.size,
    },
  } });
  stream.on('data', (message) => {
    if (message.welcome) {
      startOver = message.welcome.startOver;
      if (message.welcome.sendHeld) sayHeld(stream, digests());
    }
    for (const c of message.services) heard.services.set(`${c.namespace}/${c.name}`, c.service ? c : null);
    for (const o of message.own) heard.own.set(`${o.namespace}/${o.name}`, o);
    heard.unwanted.push(...message.unwanted);
    heard.node = message.node ?? heard.node;
    if (!message.commit) return;
    pause = shortest;
    const begun = process.hrtime.bigint();
    commit(heard, startOver);
    const received = [...heard.services.values()].filter(Boolean).length;
    console.error(`revision ${message.commit.revision}: ${received} Services received, ${said.services.size} held`);
    startOver = false;
    heard = { services: new Map(), own: new Map(), node: null, unwanted: [] };
    apply();
    stream.write({ ack: { revision: message.commit.revision, durationNs: (process.hrtime.bigint() - begun).toString() } });
    if (flags.once) stream.end();
  });
  stream.on('error', ended); // end follows, or not
  stream.on('end', () => ended(null));
}

// sayHeld lists digests in messages of a size that every server takes.
function sayHeld(stream, digests) {
  for (let at = 0, last = false; !last; at += 8192) {
    last = at + 8192 >= digests.length;
    stream.write({ held: { digests: digests.slice(at, at + 8192), last } });
  }
}

// commit makes what was heard take effect, all at once.
function commit(heard, startOver) {
  if (startOver) said.services.clear();
  const unwanted = new Set(heard.unwanted);
  for (const [name, s] of said.services) if (unwanted.has(s.digest)) said.services.delete(name);
  for (const [part, changes] of [[said.services, heard.services], [said.own, heard.own]]) {
    for (const [name, change] of changes) change ? part.set(name, change) : part.delete(name);
  }
  said.node = heard.node ?? said.node;
}

// apply is where a dataplane would be programmed; a failure goes into ack.error.
function apply() {
  let out = `# node ${said.node.name} [${said.node.ips.map(ip).join(' ')}]${said.node.leaving ? ' leaving' : ''}\n`;
  const byName = ([, a], [, b]) => compare(a.namespace, b.namespace) || compare(a.name, b.name);
  for (const [name, s] of [...said.services].sort(byName)) {
    out += text(name, assemble(s.service, said.own.get(name), said.node));
  }
  process.stdout.write(out);
}

const compare = (a, b) => (a < b ? -1 : a > b ? 1 : 0);

const client = new NodeService(flags.server, credentials(), { 'grpc.max_receive_message_length': 64 << 20 });
(function follow() {
  let over = false;
  watch(client, (err) => {
    if (over) return;
    over = true;
    if (flags.once && !err) return client.close();
    console.error(`lost the server, will try again; Services stay as they are: ${err?.message ?? 'it ended the stream'}`);
    setTimeout(follow, pause * (0.5 + Math.random() / 2));
    pause = Math.min(2 * pause, 10000);
  });
})();
