// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build ignore

// Translates the destination of sockets from addresses of Services to endpoints, when they
// connect or send. Whatever it does not find or cannot decide at the socket, it leaves to the
// packet path.
#include "services.h"

char _license[] SEC("license") = "Dual BSD/GPL";

struct client { u64 netns, affinity; };

struct choice {
	struct endpoint endpoint;
	u32 zero;
	u64 version, used; // used is in nanoseconds
};

struct flow {
	u64 socket;
	struct endpoint endpoint; // or a frontend
	u32 zero;
};

struct origin {
	struct frontend frontend;
	u32 connected;
	u64 netns;
};

struct peer {
	u64 socket; // 0 if the element is free
	struct endpoint endpoint;
	struct frontend frontend;
};

struct rewrite {
	u64 at, netns; // nanoseconds since boot, without sleep
	struct frontend frontend;
	struct endpoint endpoint;
};

const volatile u64 host_netns = 0;     // cookie of the network namespace of the node
const volatile u8 only_listed = 0;     // translate only for namespaces with the value 1
const volatile u8 recording = 0;       // write to the map rewrites
const volatile u8 standalone = 0;      // no packet path has rules for Services

struct {
	UINT(type, MAP_RINGBUF);
	UINT(max_entries, 4096);
} rewrites SEC(".maps");

// State that later versions of the program and later processes continue to use.
MAP(namespaces, MAP_HASH, u64, u8, 1024, NO_PREALLOC);  // 0: leave alone, 1: translate
MAP(affinity, MAP_LRU_HASH, struct client, struct choice, 65536, 0);
MAP(flows, MAP_LRU_HASH, struct flow, struct choice, 65536, 0);    // of unconnected UDP sockets, by frontend
MAP(reverse, MAP_LRU_HASH, struct flow, struct origin, 65536, 0);  // of UDP sockets, by endpoint
MAP(connected, MAP_ARRAY, u32, struct peer, 16384, 0);             // of sockets, at their cookies modulo the size
MAP(peers, MAP_SK_STORAGE, int, struct peer, 0, NO_PREALLOC);      // of sockets whose element is in use

static inline int is_unspecified(const struct addr *a)
{
	return !a->w[3] && !a->w[0] && !a->w[1] && (!a->w[2] || a->w[2] == be32(0xffff));
}

static inline int is_loopback(const struct addr *a)
{
	return is_mapped(a) ? (a->w[3] & be32(0xff000000)) == be32(0x7f000000)
			    : !a->w[0] && !a->w[1] && !a->w[2] && a->w[3] == be32(1);
}

struct search {
	struct endpoint *endpoint;
	u32 base, found;
};

static long compare_slot(u32 i, struct search *s)
{
	u32 index = s->base + i;
	struct slot *slot = map_lookup(&slots, &index);
	if (!slot || !same_addr(&slot->endpoint.addr, &s->endpoint->addr) || slot->endpoint.port != s->endpoint->port)
		return 0;
	s->found = 1;
	return 1; // ends the loop
}

// keeps reports whether an earlier choice is still among the first n endpoints of a record, and
// notes the version of the pool, so that the next call need not search.
static inline int keeps(struct choice *c, struct record *r, u32 n, struct endpoint *out)
{
	*out = c->endpoint;
	if (c->version == r->version)
		return 1;
	struct search s = {.endpoint = out, .base = r->base};
	loop(n, compare_slot, &s, 0);
	if (s.found)
		c->version = r->version;
	return s.found;
}

// is_bound_elsewhere reports whether a process of the node is bound to an address in the networks
// of pods, or one in a pod to another address. The packet path decides by the address.
static inline int is_bound_elsewhere(struct request *q, int in_pod)
{
	struct range key = {.prefix = 32 + 128, .id = POD_NETWORKS, .addr = q->from};
	if (is_unspecified(&q->from))
		return 0;
	u8 *v = map_lookup(&ranges, &key);
	return (v && *v == UNKNOWN) ? 0 : (v != 0) != in_pod;
}

// select_new selects the endpoint of a new connection, with session affinity.
static inline int select_new(struct record *r, struct request *q, u64 netns)
{
	struct client client = {netns, r->affinity};
	if (r->affinity) {
		struct choice *c = map_lookup(&affinity, &client);
		u64 now = ktime_ns();
		if (c && now - c->used < r->timeout && keeps(c, r, r->count, &q->endpoint)) {
			c->used = now;
			return BALANCE;
		}
	}
	if (r->refused && (r->refused == 0xffffffff || random_u32() < r->refused))
		return REFUSE;
	struct slot *s = draw(r, q);
	if (!s)
		return PASS;
	q->endpoint = s->endpoint;
	count(s->counter);
	if (r->affinity) {
		struct choice c = {.endpoint = q->endpoint, .version = r->version, .used = ktime_ns()};
		map_update(&affinity, &client, &c, 0);
	}
	return BALANCE;
}

// peer_of returns the peer of a connected socket: an element of the array, or storage, whose
// allocation takes longer than all else, if that element belongs to another socket.
static inline struct peer *peer_of(struct bpf_sock_addr *ctx, int create)
{
	u64 socket = socket_cookie(ctx);
	u32 index = socket % 16384;
	struct peer *p = map_lookup(&connected, &index);
	if (p && (p->socket == socket || (create && !__sync_val_compare_and_swap(&p->socket, 0, socket))))
		return p;
	return sk_storage_get(&peers, ctx->sk, 0, create ? SK_STORAGE_CREATE : 0);
}

static inline void remember(struct bpf_sock_addr *ctx, struct request *q, u64 netns)
{
	struct peer *p = q->connect ? peer_of(ctx, 1) : 0;
	if (p)
		p->endpoint = q->endpoint, p->frontend = q->to;
	if (q->to.protocol == UDP) {
		struct flow by_endpoint = {.socket = socket_cookie(ctx), .endpoint = q->endpoint};
		struct origin o = {.frontend = q->to, .connected = q->connect, .netns = netns};
		map_update(&reverse, &by_endpoint, &o, 0);
	}
	if (recording) {
		struct rewrite w = {ktime_ns(), netns, q->to, q->endpoint};
		ringbuf_output(&rewrites, &w, sizeof(w), NO_WAKEUP);
	}
}

// translate decides about a request. BALANCE means that q->endpoint is the new destination.
static int translate(struct bpf_sock_addr *ctx, struct request *q)
{
	u64 netns = netns_cookie(ctx);
	u8 *listed = map_lookup(&namespaces, &netns);
	if (listed ? !*listed : only_listed)
		return PASS;
	struct caller caller = {.in_pod = netns != host_netns};
	struct record *r = find_record(&q->to, &caller);
	if (!r || (caller.split && is_bound_elsewhere(q, caller.in_pod)))
		return PASS;
	if (r->verdict != BALANCE)
		return r->verdict;
	if (is_loopback(&q->from))
		return PASS; // such a packet cannot leave the node
	if ((r->ranges || r->hashing != RANDOM) && is_unspecified(&q->from))
		return standalone ? r->denied : PASS;
	if (!permitted(r, q))
		return r->denied;
	struct flow flow = {.endpoint = {.addr = q->to.addr, .port = q->to.port}};
	if (!q->connect) { // packets of a socket to one frontend are one flow
		flow.socket = socket_cookie(ctx);
		struct choice *c = map_lookup(&flows, &flow);
		if (c && keeps(c, r, r->total, &q->endpoint))
			return BALANCE;
	}
	if (!r->count)
		return r->empty;
	int verdict = select_new(r, q, netns);
	if (verdict != BALANCE)
		return verdict;
	if (!q->connect) {
		struct choice c = {.endpoint = q->endpoint, .version = r->version};
		map_update(&flows, &flow, &c, 0);
	}
	remember(ctx, q, netns);
	count(r->counter);
	return BALANCE;
}

static inline void get_destination(struct bpf_sock_addr *ctx, struct addr *a, u16 *port, int v6)
{
	*port = ctx->user_port;
	if (v6)
		COPY(a->w, ctx->user_ip6);
	else
		set_addr4(a, ctx->user_ip4);
}

static inline void set_destination(struct bpf_sock_addr *ctx, const struct addr *a, u16 port, int v6)
{
	ctx->user_port = port;
	if (v6)
		COPY(ctx->user_ip6, a->w);
	else
		ctx->user_ip4 = a->w[3];
}

// get_source reads the address to which the socket is bound, or that of the message.
static inline void get_source(struct bpf_sock_addr *ctx, struct request *q)
{
	// The verifier permits no pointer into sk, so each field is read by itself.
	volatile struct bpf_sock *sk = ctx->sk;
	u32 ip4 = sk->src_ip4, port = sk->src_port;
	struct addr ip6 = {{sk->src_ip6[0], sk->src_ip6[1], sk->src_ip6[2], sk->src_ip6[3]}};
	q->from_port = be16((u16)port);
	if (is_mapped(&q->to.addr))
		set_addr4(&q->from, ip4);
	else
		q->from = ip6;
}

// outgoing translates the destination of a socket, and returns whether the call may proceed.
static inline int outgoing(struct bpf_sock_addr *ctx, int v6, int connect)
{
	struct request q = {.connect = connect};
	u32 protocol = ctx->protocol;
	if (protocol != TCP && protocol != UDP && protocol != MPTCP)
		return 1;
	q.to.protocol = protocol == UDP ? UDP : TCP;
	get_destination(ctx, &q.to.addr, &q.to.port, v6);
	get_source(ctx, &q);
	if (!connect && !v6 && ctx->msg_src_ip4)
		set_addr4(&q.from, ctx->msg_src_ip4);
	if (!connect && v6 && (ctx->msg_src_ip6[0] | ctx->msg_src_ip6[3]))
		COPY(q.from.w, ctx->msg_src_ip6);
	switch (translate(ctx, &q)) {
	case BALANCE:
		set_destination(ctx, &q.endpoint.addr, q.endpoint.port, v6);
		return 1;
	case REFUSE:
		set_retval(-ECONNREFUSED);
		return 0;
	case DROP:
		return 0;
	}
	return 1;
}

SEC("cgroup/connect4") int connect4(struct bpf_sock_addr *ctx) { return outgoing(ctx, 0, 1); }
SEC("cgroup/connect6") int connect6(struct bpf_sock_addr *ctx) { return outgoing(ctx, 1, 1); }
SEC("cgroup/sendmsg4") int sendmsg4(struct bpf_sock_addr *ctx) { return outgoing(ctx, 0, 0); }
SEC("cgroup/sendmsg6") int sendmsg6(struct bpf_sock_addr *ctx) { return outgoing(ctx, 1, 0); }

// incoming replaces the endpoint by the frontend as the source of a received packet.
static inline int incoming(struct bpf_sock_addr *ctx, int v6)
{
	struct flow by_endpoint = {.socket = socket_cookie(ctx)};
	get_destination(ctx, &by_endpoint.endpoint.addr, &by_endpoint.endpoint.port, v6);
	struct origin *o = map_lookup(&reverse, &by_endpoint);
	if (o)
		set_destination(ctx, &o->frontend.addr, o->frontend.port, v6);
	return 1;
}

SEC("cgroup/recvmsg4") int recvmsg4(struct bpf_sock_addr *ctx) { return incoming(ctx, 0); }
SEC("cgroup/recvmsg6") int recvmsg6(struct bpf_sock_addr *ctx) { return incoming(ctx, 1); }

// peername replaces the endpoint by the frontend in the result of getpeername.
static inline int peername(struct bpf_sock_addr *ctx, int v6)
{
	struct endpoint e = {};
	get_destination(ctx, &e.addr, &e.port, v6);
	struct peer *p = peer_of(ctx, 0);
	if (p && same_addr(&p->endpoint.addr, &e.addr) && p->endpoint.port == e.port)
		set_destination(ctx, &p->frontend.addr, p->frontend.port, v6);
	return 1;
}

SEC("cgroup/getpeername4") int getpeername4(struct bpf_sock_addr *ctx) { return peername(ctx, 0); }
SEC("cgroup/getpeername6") int getpeername6(struct bpf_sock_addr *ctx) { return peername(ctx, 1); }

// released frees the element of a socket that is closed.
SEC("cgroup/sock_release") int released(struct bpf_sock *sk)
{
	u64 socket = socket_cookie(sk);
	u32 index = socket % 16384;
	struct peer *p = map_lookup(&connected, &index);
	if (p && p->socket == socket)
		p->socket = 0;
	return 1;
}
