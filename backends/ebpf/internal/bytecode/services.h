// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// The maps of Services, and how an endpoint is selected. The program contains no policy: what happens
// to the clients of a frontend is in its records, which layout.go writes.
//
// Addresses are in network byte order, IPv4 as ::ffff:a.b.c.d.
#pragma once
#include "kernel.h"

struct addr { u32 w[4]; };

struct frontend {
	struct addr addr; // unspecified for a node port
	u16 port;         // in network byte order
	u8 protocol, zero;
};

enum verdict { PASS, REFUSE, DROP, BALANCE, MASQUERADE }; // MASQUERADE is BALANCE for clients outside
enum hashing { RANDOM, BY_CLIENT, BY_FLOW };

// A record is what happens to one kind of client of a frontend. It does not change until no
// program can still read it. What most connections need is in its first cache line.
struct record {
	struct frontend frontend;
	u8 verdict, hashing;
	u8 denied, empty;       // verdicts for clients outside of the ranges, and without endpoints
	u32 base, count, total; // slots of the pool; those after count are draining
	u32 ranges;             // source ranges, 0 if any client is permitted
	u32 refused;            // share of refused connections, of 2^32
	u32 counter;
	u64 version;      // of the pool, unique
	u64 affinity;     // identifies the entries of session affinity, 0 without
	u64 timeout;      // of session affinity, in nanoseconds
	u32 table, cells; // consistent selection: index of the first cell
} __attribute__((aligned(128)));

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

const volatile u8 counting = 0; // count connections

// The sizes are set before loading. The value of a frontend is two indices of records, in one
// word that is read and written at once: the upper one is for clients in the network namespace
// of the node, the lower one for pods. With packets.bpf.c, the record after the first is for clients
// outside.
MAP(frontends, MAP_HASH, struct frontend, u64, 1, NO_PREALLOC);
MAP(records, MAP_ARRAY, u32, struct record, 1, MMAPABLE);
MAP(slots, MAP_ARRAY, u32, struct slot, 1, MMAPABLE);
MAP(tables, MAP_ARRAY, u32, u32, 1, MMAPABLE);
MAP(ranges, MAP_LPM_TRIE, struct range, u8, 1, NO_PREALLOC);
MAP(local_addrs, MAP_HASH, struct addr, u8, 1, NO_PREALLOC); // accept node ports
MAP(counters, MAP_PERCPU_ARRAY, u32, u64, 1, 0);

static inline int same_addr(const struct addr *a, const struct addr *b)
{
	return a->w[0] == b->w[0] && a->w[1] == b->w[1] && a->w[2] == b->w[2] && a->w[3] == b->w[3];
}

static inline int is_mapped(const struct addr *a) { return !a->w[0] && !a->w[1] && a->w[2] == be32(0xffff); }

static inline void set_addr4(struct addr *a, u32 ip)
{
	a->w[0] = a->w[1] = 0;
	a->w[2] = be32(0xffff);
	a->w[3] = ip;
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

// A caller is the kind of a client. split reports whether those in pods have another record.
struct caller {
	int in_pod, outside, split;
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
		if (c->outside && index)
			index++;
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

static inline void count(u32 index)
{
	u64 *n = counting ? map_lookup(&counters, &index) : 0;
	if (n && index)
		(*n)++;
}

// A request is a socket that is about to connect or send, or the first packet of a connection.
struct request {
	struct frontend to;
	struct addr from; // unspecified if the kernel has not selected one
	u32 connect;
	u16 from_port;            // in network byte order
	struct endpoint endpoint; // the result of BALANCE
};

// draw returns the slot of a new connection, or NULL. The pool of the record must not be empty.
static inline struct slot *draw(struct record *r, struct request *q)
{
	u32 i = (u64)random_u32() * r->count >> 32;
	if (r->hashing != RANDOM) {
		u32 cell = r->table + ((u64)hash_client(&q->from, q->from_port, r->hashing) * r->cells >> 32);
		u32 *at = map_lookup(&tables, &cell);
		if (!at)
			return 0;
		i = *at;
	}
	u32 index = r->base + i;
	struct slot *s = map_lookup(&slots, &index);
	if (s && r->hashing == RANDOM && s->threshold != 0xffffffff && random_u32() > s->threshold) {
		index = r->base + s->alias;
		s = map_lookup(&slots, &index);
	}
	return s;
}

// permitted reports whether the source ranges of a record contain the client.
static inline int permitted(struct record *r, struct request *q)
{
	struct range key = {.prefix = 32 + 128, .id = r->ranges, .addr = q->from};
	return !r->ranges || map_lookup(&ranges, &key);
}

enum { POD_NETWORKS = 1 };            // the identifier of the ranges with the networks of pods
enum { CONTAINED = 1, UNKNOWN = 2 }; // values of ranges

