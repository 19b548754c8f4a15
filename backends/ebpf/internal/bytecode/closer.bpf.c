// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build ignore

// Closes UDP sockets, those of the network namespace in which the iterator is opened. It is a
// program of its own because it needs Linux 6.5 and the types of the kernel (BTF).
#include "kernel.h"

char _license[] SEC("license") = "Dual BSD/GPL";

struct sock_common { u16 skc_family; };
struct udp_sock { int pending; };

struct bpf_iter__udp {
	POINTER(void, meta);
	POINTER(struct udp_sock, udp_sk);
} __attribute__((preserve_access_index));

extern int bpf_sock_destroy(struct sock_common *sk) __attribute__((section(".ksyms")));

MAP(victims, MAP_HASH, u64, u8, 65536, NO_PREALLOC); // cookies of sockets

SEC("iter/udp") int close_udp(struct bpf_iter__udp *ctx)
{
	struct sock_common *sk = (struct sock_common *)ctx->udp_sk;
	if (!sk)
		return 0;
	u64 cookie = socket_cookie(sk);
	if (map_lookup(&victims, &cookie))
		bpf_sock_destroy(sk);
	return 0;
}
