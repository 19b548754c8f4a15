// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// What a node must do, put together from the common part of Services and the node's own,
// as node.proto says. Nothing here knows gRPC.

// assemble returns what a node must do for one Service. own and node may be missing parts.
export function assemble(service, own, node) {
  const ports = service.ports.map((port, i) => {
    const ofPort = (own?.endpoints ?? []).filter((o) => o.servicePort === i);
    return assemblePort(port, ofPort, node);
  });
  return {
    ports: ports.filter((p) => p.frontends.length > 0), // others cannot be dialled
    problems: service.problems,
    healthCheckPort: service.healthCheckPort,
    localEndpoints: own?.localEndpoints ?? 0,
  };
}

function assemblePort(port, own, node) {
  const endpoints = merge(port.endpoints, own);
  const used = { 4: 0, 16: 0 }; // by the length of addresses: pools that routes lead to
  const frontends = port.frontends.map((f) => {
    const family = f.address.length;
    const pick = (pool) => endpoints.filter((e) => e.address.length === family && (e.pools >> pool) & 1);
    const routes = port.routeLists[f.routes].routes.filter((r) => exists(r, family, node)).map((r) => {
      const pool = r.pools.find((p) => pick(p).length > 0) ?? r.pools.at(-1);
      used[family] |= 1 << pool;
      return { from: r.from, masquerade: r.masquerade, empty: r.empty, endpoints: pick(pool) };
    });
    return { kind: f.kind, address: f.address, port: f.port, sources: sources(f, node), routes };
  });
  const retained = endpoints.filter((e) => !e.noRetain && (e.pools & used[e.address.length]) === 0);
  return { name: port.name, protocol: port.protocol, affinityNs: BigInt(port.affinityNs), frontends, retained };
}

// merge adds what is the node's own: pools are united, and connections go on if either
// part lets them.
function merge(common, own) {
  const all = new Map(common.map((e) => [hostPort(e), { ...e, local: false }]));
  for (const { endpoint, local } of own) {
    const there = all.get(hostPort(endpoint));
    all.set(hostPort(endpoint), {
      ...endpoint, local, pools: endpoint.pools | (there?.pools ?? 0),
      noRetain: endpoint.noRetain && (there?.noRetain ?? true),
    });
  }
  return [...all.values()].sort((a, b) => compareAddresses(a.address, b.address) || a.port - b.port);
}

// exists says whether a route is on this node: some depend on whether it can tell packets
// of its own pods.
function exists(route, family, node) {
  const pods = node.localPods ?? { networks: [], interface: '', interfacePrefix: '' };
  const known = pods.interface !== '' || pods.interfacePrefix !== '' || pods.networks.some((n) => n.address.length === family);
  return route.only === 'CONDITION_UNSPECIFIED' || known === (route.only === 'CONDITION_PODS_KNOWN');
}

// sources says who is let in: null is everybody.
function sources(frontend, node) {
  if (frontend.sources === null) return null;
  const all = [...frontend.sources.networks];
  const here = node.ips.some((ip) => all.some((n) => contains(n, ip)));
  if (!here || !frontend.nodeSources?.networks.length) return all;
  all.push(...frontend.nodeSources.networks);
  all.sort((a, b) => compareAddresses(a.address, b.address) || a.length - b.length);
  return all.filter((n, i) => i === 0 || network(n) !== network(all[i - 1]));
}

function contains(net, ip) {
  if (net.address.length !== ip.length) return false;
  const value = (bytes) => BigInt('0x' + bytes.toString('hex')) >> BigInt(8 * ip.length - net.length);
  return value(net.address) === value(ip);
}

const compareAddresses = (a, b) => a.length - b.length || Buffer.compare(a, b);

// text returns what a node does for a Service, for people.
export function text(name, s) {
  const lines = [name];
  for (const p of s.ports) {
    const affinity = p.affinityNs > 0n ? `, affinity ${duration(p.affinityNs)}` : '';
    lines.push(`  port ${JSON.stringify(p.name)} ${p.protocol.replace('PROTOCOL_', '')}${affinity}`);
    if (p.retained.length) lines.push(`    retained: [${p.retained.map(hostPort).join(' ')}]`);
    for (const f of p.frontends) {
      const only = f.sources === null ? '' : ` for [${f.sources.map(network).join(' ')}]`;
      lines.push(`    ${kinds[f.kind]} ${hostPort(f)}${only}`);
      for (const r of f.routes) lines.push(`      ${froms[r.from]} -> ${target(r)}`);
    }
  }
  if (s.healthCheckPort) lines.push(`  health check on port ${s.healthCheckPort}: ${s.localEndpoints} local endpoints`);
  for (const p of s.problems) lines.push(`  problem: ${p.object}: ${p.field}: ${p.message}`);
  return lines.join('\n') + '\n';
}

const kinds = {
  FRONTEND_KIND_CLUSTER_IP: 'ClusterIP', FRONTEND_KIND_NODE_PORT: 'NodePort',
  FRONTEND_KIND_EXTERNAL_IP: 'ExternalIP', FRONTEND_KIND_LOAD_BALANCER: 'LoadBalancer',
};
const froms = { FROM_UNSPECIFIED: 'Anyone', FROM_LOCAL_PODS: 'LocalPods', FROM_THIS_NODE: 'ThisNode' };

function target(route) {
  if (route.endpoints.length === 0) return route.empty === 'VERDICT_DROP' ? 'drop' : 'reject';
  const words = route.endpoints.map((e) => hostPort(e) + (e.local ? '(local)' : ''));
  return words.concat(route.masquerade ? ['masqueraded'] : []).join(' ');
}

const hostPort = (e) => (e.address.length === 4 ? ip(e.address) : `[${ip(e.address)}]`) + ':' + e.port;
const network = (n) => `${ip(n.address)}/${n.length}`;

// ip returns an address in its usual form; of IPv6 the longest run of zeros is left out.
export function ip(bytes) {
  if (bytes.length === 4) return bytes.join('.');
  const words = Array.from({ length: 8 }, (_, i) => bytes.readUInt16BE(2 * i).toString(16));
  let best = { at: 0, length: 1 };
  for (let at = 0; at < 8; at++) {
    let length = 0;
    while (words[at + length] === '0') length++;
    if (length > best.length) best = { at, length };
  }
  if (best.length === 1) return words.join(':');
  return words.slice(0, best.at).join(':') + '::' + words.slice(best.at + best.length).join(':');
}

function duration(ns) {
  const s = Number(ns / 1000000000n), m = Math.floor(s / 60);
  if (m === 0) return `${s}s`;
  return m < 60 ? `${m}m${s % 60}s` : `${Math.floor(m / 60)}h${m % 60}m${s % 60}s`;
}
