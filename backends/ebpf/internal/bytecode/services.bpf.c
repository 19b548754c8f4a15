// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build ignore

// Translates the destination of sockets from addresses of Services to endpoints, when they
// connect or send. The program contains no policy: what happens to the clients of a frontend is in
// its records, which layout.go writes. Whatever it does not find or cannot decide at the
// socket, it leaves to the rules of the packet path.
//
// Addresses are in network byte order, IPv4 as ::ffff:a.b.c.d.
#include "kernel.h"

char _license[] SEC("license") = "Dual BSD/GPL";

struct addr {
	u32 w[4];
};

struct frontend {
	struct addr addr; // unspecified for a node port
	u16 port;         // in network byte order
	u8 protocol, zero;
};

enum verdict { PASS, REFUSE, DROP, BALANCE };
enum hashing { RANDOM, BY_CLIENT, BY_FLOW };

// A record is what happens to one kind of client of a frontend. It does not change until no
// program can still read it.
struct record {
	struct frontend frontend;
	u8 verdict, hashing;
	u8 denied, empty;       // verdicts for clients outside of the ranges, and without endpoints
	u32 base, count, total; // slots of the pool; those after count are draining
	u32 table, cells;       // consistent selection: index of the first cell
	u32 ranges;             // source ranges, 0 if any client is permitted
	u32 refused;            // share of refused connections, of 2^32
	u32 counter;
	u64 version;  // of the pool, unique
	u64 affinity; // identifies the entries of session affinity, 0 without
	u64 timeout;  // of session affinity, in nanoseconds
};

struct endpoint {
	struct addr addr;
	u16 port, zero;
};

// A slot is an endpoint of a pool, in the form of Vose's alias method: it is selected unless a
// random number is above threshold, and the slot called alias otherwise.
struct slot {
	struct endpoint endpoint;
	u32 threshold, alias, counter;
};

struct range {
	u32 prefix, id;
	struct addr addr;
};

struct client {
	u64 netns, affinity;
};

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
	struct endpoint endpoint;
	struct frontend frontend;
};

struct connected {
	u64 socket; // 0 if the element is free
	struct peer peer;
};

struct rewrite {
	u64 at, netns; // nanoseconds since boot, without sleep
	struct frontend frontend;
	struct endpoint endpoint;
};

const volatile u64 host_netns = 0;     // cookie of the network namespace of the node
const volatile u8 only_listed = 0;     // translate only for namespaces with the value 1
const volatile u8 counting = 0;        // count connections
const volatile u8 recording = 0;       // write to the map rewrites
const volatile u8 standalone = 0;      // no packet path has rules for Services

#define MAP(name, kind, k, v, n, f)                                                                                            \
	struct {                                                                                                                \
		UINT(type, kind);                                                                                               \
		TYPE(key, k);                                                                                                   \
		TYPE(value, v);                                                                                                 \
		UINT(max_entries, n);                                                                                           \
		UINT(map_flags, f);                                                                                             \
	} name SEC(".maps")

// The sizes are set before loading. The value of a frontend is two indices of records, in one
// word that is read and written at once: the upper one is for clients in the network namespace
// of the node, the lower one for pods.
MAP(frontends, MAP_HASH, struct frontend, u64, 1, NO_PREALLOC);
MAP(records, MAP_ARRAY, u32, struct record, 1, MMAPABLE);
MAP(slots, MAP_ARRAY, u32, struct slot, 1, MMAPABLE);
MAP(tables, MAP_ARRAY, u32, u32, 1, MMAPABLE);
MAP(ranges, MAP_LPM_TRIE, struct range, u8, 1, NO_PREALLOC);
MAP(local_addrs, MAP_HASH, struct addr, u8, 1, NO_PREALLOC); // accept node ports
MAP(counters, MAP_PERCPU_ARRAY, u32, u64, 1, 0);
struct {
	UINT(type, MAP_RINGBUF);
	UINT(max_entries, 4096);
} rewrites SEC(".maps");

// State that later versions of the program and later processes continue to use.
MAP(namespaces, MAP_HASH, u64, u8, 1024, NO_PREALLOC);  // 0: leave alone, 1: translate
MAP(affinity, MAP_LRU_HASH, struct client, struct choice, 65536, 0);
MAP(flows, MAP_LRU_HASH, struct flow, struct choice, 65536, 0);    // of unconnected UDP sockets, by frontend
MAP(reverse, MAP_LRU_HASH, struct flow, struct origin, 65536, 0);  // of UDP sockets, by endpoint
MAP(connected, MAP_ARRAY, u32, struct connected, 16384, 0);        // peers of sockets, at their cookies modulo the size
MAP(peers, MAP_SK_STORAGE, int, struct peer, 0, NO_PREALLOC);      // of sockets whose element is in use

static inline int same_addr(const struct addr *a, const struct addr *b)
{
	return a->w[0] == b->w[0] && a->w[1] == b->w[1] && a->w[2] == b->w[2] && a->w[3] == b->w[3];
}

static inline int is_mapped(const struct addr *a) { return !a->w[0] && !a->w[1] && a->w[2] == be32(0xffff); }

static inline int is_unspecified(const struct addr *a)
{
	return !a->w[3] && !a->w[0] && !a->w[1] && (!a->w[2] || a->w[2] == be32(0xffff));
}

static inline int is_loopback(const struct addr *a)
{
	if (is_mapped(a))
		return (a->w[3] & be32(0xff000000)) == be32(0x7f000000);
	return !a->w[0] && !a->w[1] && !a->w[2] && a->w[3] == be32(1);
}

static inline u32 rotate(u32 x, u32 n) { return x << n | x >> (32 - n); }

// jhash is jhash of the kernel for a key of n words, at most 5, as in localsink/consistent. Two
// words after the key must be zero.
static inline u32 jhash(const u32 *k, u32 n)
{
	u32 a = 0xdeadbeef + n * 4 + 0x6b706e67, b = a, c = a;
	if (n > 3) {
		a += k[0], b += k[1], c += k[2];
		a -= c, a ^= rotate(c, 4), c += b;
		b -= a, b ^= rotate(a, 6), a += c;
		c -= b, c ^= rotate(b, 8), b += a;
		a -= c, a ^= rotate(c, 16), c += b;
		b -= a, b ^= rotate(a, 19), a += c;
		c -= b, c ^= rotate(b, 4), b += a;
		k += 3, n -= 3;
	}
	a += le32(k[0]), b += le32(k[1]), c += le32(k[2]);
	c ^= b, c -= rotate(b, 14), a ^= c, a -= rotate(c, 11), b ^= a, b -= rotate(a, 25);
	c ^= b, c -= rotate(b, 16), a ^= c, a -= rotate(c, 4), b ^= a, b -= rotate(a, 14);
	return (c ^ b) - rotate(b, 24);
}

static inline u32 hash_client(const struct addr *a, u16 port, u8 hashing)
{
	u32 v6[6] = {a->w[0], a->w[1], a->w[2], a->w[3]}, v4[3] = {a->w[3]}, with_port = hashing == BY_FLOW;
	if (with_port)
		*(u16 *)&v6[4] = *(u16 *)&v4[1] = port;
	return is_mapped(a) ? jhash(v4, 1 + with_port) : jhash(v6, 4 + with_port);
}

// A caller is the kind of a client. split reports whether the other kind has another record.
struct caller {
	int in_pod, split;
};

// record_of returns the record of a frontend, or NULL. An entry of a hash table may be replaced
// while a program reads it, so the record must be that of the frontend.
static inline struct record *record_of(struct frontend *f, struct caller *c)
{
	for (int i = 0; i < 4; i++) {
		volatile u64 *pair = map_lookup(&frontends, f);
		if (!pair)
			return 0;
		u64 both = *pair;
		u32 index = c->in_pod ? (u32)both : (u32)(both >> 32);
		c->split = (u32)both != (u32)(both >> 32);
		struct record *r = map_lookup(&records, &index);
		if (!r || !index)
			return 0;
		if (same_addr(&r->frontend.addr, &f->addr) && r->frontend.port == f->port && r->frontend.protocol == f->protocol)
			return r;
	}
	return 0;
}

static inline struct record *find_record(struct frontend *f, struct caller *c)
{
	struct record *r = record_of(f, c);
	if (r || !map_lookup(&local_addrs, &f->addr))
		return r;
	struct frontend any = {.port = f->port, .protocol = f->protocol};
	any.addr.w[2] = is_mapped(&f->addr) ? be32(0xffff) : 0;
	return record_of(&any, c);
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

static inline void count(u32 index)
{
	u64 *n = counting ? map_lookup(&counters, &index) : 0;
	if (n && index)
		(*n)++;
}

// A request is a socket that is about to connect or send.
struct request {
	struct frontend to;
	struct addr from; // unspecified if the kernel has not selected one
	u32 connect;
	u16 from_port;
	struct endpoint endpoint; // the result of BALANCE
};

static inline int draw(struct record *r, struct request *q)
{
	u32 i = (u64)random_u32() * r->count >> 32;
	if (r->hashing != RANDOM) {
		u32 cell = r->table + ((u64)hash_client(&q->from, q->from_port, r->hashing) * r->cells >> 32);
		u32 *at = map_lookup(&tables, &cell);
		if (!at)
			return PASS;
		i = *at;
	}
	u32 index = r->base + i;
	struct slot *s = map_lookup(&slots, &index);
	if (s && r->hashing == RANDOM && s->threshold != 0xffffffff && random_u32() > s->threshold) {
		index = r->base + s->alias;
		s = map_lookup(&slots, &index);
	}
	if (!s)
		return PASS;
	q->endpoint = s->endpoint;
	count(s->counter);
	return BALANCE;
}

// permitted reports whether the source ranges of a record contain the client.
static inline int permitted(struct record *r, struct request *q)
{
	struct range key = {.prefix = 32 + 128, .id = r->ranges, .addr = q->from};
	return !r->ranges || map_lookup(&ranges, &key);
}

enum { POD_NETWORKS = 1 };            // the identifier of the ranges with the networks of pods
enum { CONTAINED = 1, UNKNOWN = 2 }; // values of ranges

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
	int verdict = draw(r, q);
	if (r->affinity && verdict == BALANCE) {
		struct choice c = {.endpoint = q->endpoint, .version = r->version, .used = ktime_ns()};
		map_update(&affinity, &client, &c, 0);
	}
	return verdict;
}

// connected_at returns the element of connected for a socket. Its allocation costs nothing, unlike
// that of socket storage.
static inline struct connected *connected_at(u64 socket)
{
	u32 index = socket % 16384;
	return map_lookup(&connected, &index);
}

static inline void remember(struct bpf_sock_addr *ctx, struct request *q, u64 netns)
{
	u64 socket = socket_cookie(ctx);
	struct connected *c = q->connect ? connected_at(socket) : 0;
	struct peer *p = 0;
	if (c && (c->socket == socket || !__sync_val_compare_and_swap(&c->socket, 0, socket)))
		p = &c->peer;
	else if (q->connect)
		p = sk_storage_get(&peers, ctx->sk, 0, SK_STORAGE_CREATE);
	if (p)
		*p = (struct peer){q->endpoint, q->to};
	if (q->to.protocol == UDP) {
		struct flow by_endpoint = {.socket = socket, .endpoint = q->endpoint};
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

static inline void set_addr4(struct addr *a, u32 ip)
{
	a->w[0] = a->w[1] = 0;
	a->w[2] = be32(0xffff);
	a->w[3] = ip;
}

static inline void get_destination(struct bpf_sock_addr *ctx, struct addr *a, u16 *port, int v6)
{
	*port = ctx->user_port;
	if (v6) {
		a->w[0] = ctx->user_ip6[0], a->w[1] = ctx->user_ip6[1];
		a->w[2] = ctx->user_ip6[2], a->w[3] = ctx->user_ip6[3];
	} else {
		set_addr4(a, ctx->user_ip4);
	}
}

static inline void set_destination(struct bpf_sock_addr *ctx, const struct addr *a, u16 port, int v6)
{
	ctx->user_port = port;
	if (v6) {
		ctx->user_ip6[0] = a->w[0], ctx->user_ip6[1] = a->w[1];
		ctx->user_ip6[2] = a->w[2], ctx->user_ip6[3] = a->w[3];
	} else {
		ctx->user_ip4 = a->w[3];
	}
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
	if (!connect && v6 && (ctx->msg_src_ip6[0] | ctx->msg_src_ip6[3])) {
		q.from.w[0] = ctx->msg_src_ip6[0], q.from.w[1] = ctx->msg_src_ip6[1];
		q.from.w[2] = ctx->msg_src_ip6[2], q.from.w[3] = ctx->msg_src_ip6[3];
	}
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
	u64 socket = socket_cookie(ctx);
	struct connected *c = connected_at(socket);
	struct peer *p = c && c->socket == socket ? &c->peer : sk_storage_get(&peers, ctx->sk, 0, 0);
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
	struct connected *c = connected_at(socket);
	if (c && c->socket == socket)
		c->socket = 0;
	return 1;
}
