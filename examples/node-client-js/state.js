// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Combines the shared base of a Service with the node overlay, as node.proto defines, and
// formats the result. It does not depend on gRPC.

// assemble returns the desired state of a Service on a node. overlay may be undefined.
export function assemble(service, overlay, node) {
  const ports = service.ports.map((port, i) => {
    const additions = (overlay?.endpoints ?? []).filter((o) => o.servicePort === i);
    return assemblePort(port, additions, node);
  });
  return {
    ports: ports.filter((p) => p.frontends.length > 0), // no client can connect to others
    problems: service.problems,
    extensions: service.extensions,
    healthCheckPort: service.healthCheckPort,
    localEndpoints: overlay?.localEndpoints ?? 0,
  };
}

function assemblePort(port, additions, node) {
  const endpoints = merge(port.endpoints, additions);
  const used = { 4: 0, 16: 0 }; // bit sets of pools that routes use, by the length of addresses
  const frontends = port.frontends.map((f) => {
    const family = f.address.length;
    const pick = (pool) => endpoints.filter((e) => e.address.length === family && (e.pools >> pool) & 1);
    const routes = port.routeLists[f.routeList].routes.filter((r) => exists(r, family, node)).map((r) => {
      const pool = r.pools.find((p) => pick(p).length > 0) ?? r.pools.at(-1);
      used[family] |= 1 << pool;
      return { from: r.from, masquerade: r.masquerade, emptyVerdict: r.emptyVerdict, endpoints: pick(pool) };
    });
    return { kind: f.kind, address: f.address, port: f.port, sourceRanges: sourceRanges(f, node), routes };
  });
  const draining = endpoints.filter((e) => !e.noDrain && (e.pools & used[e.address.length]) === 0);
  const { name, protocol, selection, refusedPerMille, endpointExtensions } = port;
  return { name, protocol, affinityNs: BigInt(port.affinityNs), selection, refusedPerMille, endpointExtensions, frontends, draining };
}

// merge adds the endpoints of an overlay to those of the shared base. An endpoint in both is
// in the pools of both, has the weight of the shared base, and drains if either allows it.
function merge(base, additions) {
  const all = new Map(base.map((e) => [hostPort(e), { ...e, local: false }]));
  for (const { endpoint, local } of additions) {
    const shared = all.get(hostPort(endpoint));
    all.set(hostPort(endpoint), {
      ...endpoint, local, pools: endpoint.pools | (shared?.pools ?? 0),
      noDrain: endpoint.noDrain && (shared?.noDrain ?? true), weight: (shared ?? endpoint).weight,
    });
  }
  return [...all.values()].sort(byAddress);
}

// exists reports whether a route exists on a node. The condition of a route may require that
// the node can identify packets of its own pods, or that it cannot.
function exists(route, family, node) {
  const pods = node.localPods ?? { networks: [], interface: '', interfacePrefix: '' };
  const known = pods.interface !== '' || pods.interfacePrefix !== '' || pods.networks.some((n) => n.address.length === family);
  return route.condition === 'CONDITION_UNSPECIFIED' || known === (route.condition === 'CONDITION_PODS_KNOWN');
}

// sourceRanges returns the networks that may connect to a frontend; null for all.
function sourceRanges(frontend, node) {
  if (frontend.sourceRanges === null) return null;
  const all = [...frontend.sourceRanges.networks];
  const nodeIncluded = node.ips.some((ip) => all.some((n) => contains(n, ip)));
  if (!nodeIncluded || !frontend.nodeSourceRanges?.networks.length) return all;
  all.push(...frontend.nodeSourceRanges.networks);
  all.sort((a, b) => compareAddresses(a.address, b.address) || a.length - b.length);
  return all.filter((n, i) => i === 0 || network(n) !== network(all[i - 1]));
}

function contains(net, ip) {
  if (net.address.length !== ip.length) return false;
  const value = (bytes) => BigInt('0x' + bytes.toString('hex')) >> BigInt(8 * ip.length - net.length);
  return value(net.address) === value(ip);
}

const compareAddresses = (a, b) => a.length - b.length || Buffer.compare(a, b);
const byAddress = (a, b) => compareAddresses(a.address, b.address) || a.port - b.port;

// text formats the desired state of a Service, like localsink.Service.Text in Go.
export function text(name, s) {
  const lines = [name];
  for (const p of s.ports) {
    const affinity = p.affinityNs > 0n ? `, affinity ${duration(p.affinityNs)}` : '';
    const selection = p.selection in selections ? `, selection ${selections[p.selection]}` : '';
    const refused = p.refusedPerMille > 0 ? `, ${p.refusedPerMille}‰ refused` : '';
    lines.push(`  port ${JSON.stringify(p.name)} ${p.protocol.replace('PROTOCOL_', '')}${affinity}${selection}${refused}`);
    if (p.draining.length) lines.push(`    draining: [${p.draining.map(hostPort).join(' ')}]`);
    const extended = p.endpointExtensions.flatMap((x) => x.endpoints.map((e) => ({ ...e, extensions: x.extensions })));
    for (const e of extended.sort(byAddress)) lines.push(`    extensions of ${hostPort(e)}: ${e.extensions.map(extension).join(', ')}`);
    for (const f of p.frontends) {
      const ranges = f.sourceRanges === null ? '' : ` for [${f.sourceRanges.map(network).join(' ')}]`;
      lines.push(`    ${kinds[f.kind]} ${hostPort(f)}${ranges}`);
      for (const r of f.routes) lines.push(`      ${froms[r.from]} -> ${target(r)}`);
    }
  }
  if (s.healthCheckPort) lines.push(`  health check on port ${s.healthCheckPort}: ${s.localEndpoints} local endpoints`);
  if (s.extensions.length) lines.push(`  extensions: ${s.extensions.map(extension).join(', ')}`);
  for (const p of s.problems) lines.push(`  problem: ${p.object}: ${p.field}: ${p.message}`);
  return lines.join('\n') + '\n';
}

const kinds = {
  FRONTEND_KIND_CLUSTER_IP: 'ClusterIP', FRONTEND_KIND_NODE_PORT: 'NodePort',
  FRONTEND_KIND_EXTERNAL_IP: 'ExternalIP', FRONTEND_KIND_LOAD_BALANCER: 'LoadBalancer',
};
const selections = { SELECTION_CLIENT: 'Client', SELECTION_FLOW: 'Flow', SELECTION_LEAST_CONNECTIONS: 'LeastConnections' };
const verdicts = { VERDICT_UNSPECIFIED: 'reject', VERDICT_DROP: 'drop', VERDICT_PASS: 'pass' };
const froms = { FROM_UNSPECIFIED: 'Any', FROM_LOCAL_PODS: 'LocalPods', FROM_THIS_NODE: 'ThisNode' };

function target(route) {
  if (route.endpoints.length === 0) return verdicts[route.emptyVerdict];
  const words = route.endpoints.map((e) => hostPort(e) + (e.local ? '(local)' : '') + (e.weight > 1 ? `(weight ${e.weight})` : ''));
  return words.concat(route.masquerade ? ['masqueraded'] : []).join(' ');
}

// extension formats a key and its value: ASCII without control characters, other bytes in hexadecimal.
const extension = ({ key, value }) => `${key}="${value.toString('latin1').replace(/["\\]|[^ -~]/g, escape)}"`;
const escape = (c) => (c === '"' || c === '\\' ? '\\' + c : '\\x' + c.charCodeAt(0).toString(16).padStart(2, '0'));

const hostPort = (e) => (e.address.length === 4 ? ip(e.address) : `[${ip(e.address)}]`) + ':' + e.port;
const network = (n) => `${ip(n.address)}/${n.length}`;

// ip formats an address; in IPv6 addresses, "::" replaces the longest run of zeros.
export function ip(bytes) {
  if (bytes.length === 4) return bytes.join('.');
  const words = Array.from({ length: 8 }, (_, i) => bytes.readUInt16BE(2 * i).toString(16));
  let longest = { start: 0, length: 1 };
  for (let start = 0; start < 8; start++) {
    let length = 0;
    while (words[start + length] === '0') length++;
    if (length > longest.length) longest = { start, length };
  }
  if (longest.length === 1) return words.join(':');
  return words.slice(0, longest.start).join(':') + '::' + words.slice(longest.start + longest.length).join(':');
}

// duration formats nanoseconds like time.Duration in Go, in whole seconds.
function duration(ns) {
  const s = Number(ns / 1000000000n), m = Math.floor(s / 60);
  if (m === 0) return `${s}s`;
  return m < 60 ? `${m}m${s % 60}s` : `${Math.floor(m / 60)}h${m % 60}m${s % 60}s`;
}
