// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build ignore

// Decides at tc about connections from outside: for the first packet it adds an entry to the
// connection tracking of the kernel, whose address translation is then applied to all packets of
// the connection. Whatever it does not find or cannot decide, it leaves to the packet path.
#include "services.h"

char _license[] SEC("license") = "Dual BSD/GPL";

struct __sk_buff {
	u32 len, pkt_type, mark, queue_mapping, protocol, vlan_present, vlan_tci, vlan_proto, priority, ingress_ifindex;
};

struct bpf_sock_tuple {
	union {
		struct { u32 from, to; u16 from_port, to_port; } v4;
		struct { struct addr from, to; u16 from_port, to_port; } v6;
	};
};

struct bpf_ct_opts { int netns_id, error; u8 protocol, dir, reserved[2]; };
union nf_inet_addr { u32 w[4]; };

// IPv4 addresses are in the first word.
struct bpf_fib_lookup { u8 family, protocol; u16 from_port, to_port, length; u32 ifindex, flow; struct addr from, to; u32 rest[4]; };

struct nf_conn { unsigned long status; };
struct nf_conn___init { struct nf_conn ct; };
enum nf_nat_manip_type { SOURCE, DESTINATION };

#define KERNEL extern __attribute__((section(".ksyms")))
KERNEL struct nf_conn *bpf_skb_ct_lookup(struct __sk_buff *skb, struct bpf_sock_tuple *t, u32 size, struct bpf_ct_opts *o, u32 opts_size);
KERNEL struct nf_conn___init *bpf_skb_ct_alloc(struct __sk_buff *skb, struct bpf_sock_tuple *t, u32 size, struct bpf_ct_opts *o, u32 opts_size);
KERNEL int bpf_ct_set_nat_info(struct nf_conn___init *ct, union nf_inet_addr *addr, int port, enum nf_nat_manip_type manip);
KERNEL void bpf_ct_set_timeout(struct nf_conn___init *ct, u32 milliseconds);
KERNEL struct nf_conn *bpf_ct_insert_entry(struct nf_conn___init *ct);
KERNEL void bpf_ct_release(struct nf_conn *ct);

static long (*load)(struct __sk_buff *skb, u32 offset, void *to, u32 size, u32 start) = (void *)68;
static long (*fib_lookup)(struct __sk_buff *skb, struct bpf_fib_lookup *f, int size, u32 flags) = (void *)69;

enum { NETWORK_HEADER = 1 };                   // start of load
enum { SKIP_NEIGHBOUR = 4, WITH_SOURCE = 16 }; // flags of fib_lookup: Linux 6.3, 6.7
enum { THIS_HOST = 0, IPV4 = 0x0800, IPV6 = 0x86dd, INET = 2, INET6 = 10, FIN_SYN_RST_ACK = 0x17, SYN = 2 };

// parse reads a packet that can be the first of a connection: UDP, or TCP with SYN alone. It returns
// 0 for others, and for fragments and packets with options of IP.
static inline int parse(struct __sk_buff *skb, struct request *q)
{
	struct { u8 version, tos; u16 length, id, fragment; u8 ttl, protocol; u16 checksum; u32 from, to; } v4;
	struct { u32 flow; u16 length; u8 next, hops; struct addr from, to; } v6;
	struct { u16 from, to; u32 sequence, acknowledged; u8 offset, flags; } tcp = {};
	u32 size = sizeof(v6);
	if (skb->protocol == be16(IPV4)) {
		size = sizeof(v4);
		if (load(skb, 0, &v4, size, NETWORK_HEADER) || v4.version != 0x45 || v4.fragment & be16(0x3fff))
			return 0;
		q->to.protocol = v4.protocol;
		set_addr4(&q->from, v4.from);
		set_addr4(&q->to.addr, v4.to);
	} else {
		if (skb->protocol != be16(IPV6) || load(skb, 0, &v6, size, NETWORK_HEADER))
			return 0;
		q->to.protocol = v6.next; // a header of extensions is none of those below
		q->from = v6.from, q->to.addr = v6.to;
	}
	if (q->to.protocol == TCP) {
		if (load(skb, size, &tcp, 14, NETWORK_HEADER) || (tcp.flags & FIN_SYN_RST_ACK) != SYN)
			return 0;
	} else if (q->to.protocol != UDP || load(skb, size, &tcp, 8, NETWORK_HEADER)) {
		return 0;
	}
	q->from_port = tcp.from, q->to.port = tcp.to;
	return 1;
}

// find_source replaces the address of a client by that of the node towards the endpoint. Kernels
// without WITH_SOURCE find none.
static inline int find_source(struct __sk_buff *skb, struct request *q, int v6)
{
	struct bpf_fib_lookup f = {.family = v6 ? INET6 : INET, .protocol = q->to.protocol, .ifindex = skb->ingress_ifindex};
	f.from = q->from, f.to = q->endpoint.addr;
	if (!v6)
		f.from.w[0] = q->from.w[3], f.to.w[0] = q->endpoint.addr.w[3];
	if (fib_lookup(skb, &f, sizeof(f), SKIP_NEIGHBOUR | WITH_SOURCE))
		return 0;
	if (v6)
		q->from = f.from;
	else
		q->from.w[3] = f.from.w[0];
	return 1;
}

static inline int translate(struct nf_conn___init *ct, struct addr *a, int port, int v6, enum nf_nat_manip_type which)
{
	union nf_inet_addr to = {{a->w[0], a->w[1], a->w[2], a->w[3]}};
	if (!v6)
		to.w[0] = a->w[3];
	return bpf_ct_set_nat_info(ct, &to, port, which);
}

static inline void decide(struct __sk_buff *skb, struct request *q)
{
	int v6 = !is_mapped(&q->to.addr), size = v6 ? 36 : 12;
	struct caller caller = {.outside = 1};
	struct record *r = find_record(&q->to, &caller);
	if (!r || r->verdict < BALANCE || !r->count || !permitted(r, q))
		return;
	struct range key = {.prefix = 32 + 128, .id = POD_NETWORKS, .addr = q->from};
	u8 *pods = map_lookup(&ranges, &key);
	if (pods && *pods == CONTAINED)
		return;
	struct bpf_ct_opts opts = {.netns_id = -1, .protocol = q->to.protocol};
	struct bpf_sock_tuple t = {.v6 = {q->from, q->to.addr, q->from_port, q->to.port}};
	if (!v6)
		t.v4.from = q->from.w[3], t.v4.to = q->to.addr.w[3], t.v4.from_port = q->from_port, t.v4.to_port = q->to.port;
	struct nf_conn *present = bpf_skb_ct_lookup(skb, &t, size, &opts, sizeof(opts));
	if (present) {
		bpf_ct_release(present);
		return;
	}
	struct slot *s = draw(r, q);
	if (!s)
		return;
	q->endpoint = s->endpoint;
	if ((r->verdict == MASQUERADE || same_addr(&q->from, &q->endpoint.addr)) && !find_source(skb, q, v6))
		return;
	struct nf_conn___init *ct = bpf_skb_ct_alloc(skb, &t, size, &opts, sizeof(opts));
	if (!ct)
		return;
	// The kernel permits no other use of ct than to insert it. After an error it expires at once.
	if (translate(ct, &q->endpoint.addr, be16(q->endpoint.port), v6, DESTINATION) || translate(ct, &q->from, 0, v6, SOURCE))
		bpf_ct_set_timeout(ct, 0);
	present = bpf_ct_insert_entry(ct);
	if (present) { // otherwise another packet was faster
		bpf_ct_release(present);
		count(s->counter);
		count(r->counter);
	}
}

SEC("tc") int outside(struct __sk_buff *skb)
{
	struct request q = {};
	if (skb->pkt_type == THIS_HOST && !skb->vlan_present && parse(skb, &q))
		decide(skb, &q);
	return -1; // the next program
}
