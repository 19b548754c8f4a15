// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// The parts of the kernel's interface that the programs use: a small replacement for linux/bpf.h,
// vmlinux.h and the headers of libbpf, so that clang alone compiles them.
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define SEC(name) __attribute__((section(name), used))
#define inline inline __attribute__((always_inline))
#define UINT(name, value) int(*name)[value]
#define TYPE(name, value) typeof(value) *name
#define MAP(name, kind, k, v, n, f) \
	struct { UINT(type, kind); TYPE(key, k); TYPE(value, v); UINT(max_entries, n); UINT(map_flags, f); } name SEC(".maps")
#define POINTER(type, name) union { type *name; u64 : 64; } __attribute__((aligned(8)))
#define COPY(to, from) ((to)[0] = (from)[0], (to)[1] = (from)[1], (to)[2] = (from)[2], (to)[3] = (from)[3])

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define le32(x) (x)
#define be32(x) __builtin_bswap32(x)
#define be16(x) __builtin_bswap16(x)
#else
#define le32(x) __builtin_bswap32(x)
#define be32(x) (x)
#define be16(x) (x)
#endif

// Types and flags of maps, flags of updates.
enum { MAP_HASH = 1, MAP_ARRAY = 2, MAP_PERCPU_ARRAY = 6, MAP_LRU_HASH = 9, MAP_LPM_TRIE = 11, MAP_SK_STORAGE = 24, MAP_RINGBUF = 27 };
enum { NO_PREALLOC = 1 << 0, MMAPABLE = 1 << 10 };
enum { SK_STORAGE_CREATE = 1, NO_WAKEUP = 1 };

enum { TCP = 6, UDP = 17, MPTCP = 262 };
enum { ECONNREFUSED = 111 };

struct bpf_sock {
	u32 bound_dev_if, family, type, protocol, mark, priority;
	u32 src_ip4, src_ip6[4], src_port; // the port in host byte order
};

struct bpf_sock_addr {
	u32 user_family, user_ip4, user_ip6[4], user_port; // in network byte order
	u32 family, type, protocol, msg_src_ip4, msg_src_ip6[4];
	POINTER(struct bpf_sock, sk);
};

static void *(*map_lookup)(void *map, const void *key) = (void *)1;
static long (*map_update)(void *map, const void *key, const void *value, u64 flags) = (void *)2;
static u64 (*ktime_ns)(void) = (void *)5;
static u32 (*random_u32)(void) = (void *)7;
static u64 (*socket_cookie)(void *ctx) = (void *)46;
static void *(*sk_storage_get)(void *map, void *sk, void *value, u64 flags) = (void *)107;
static u64 (*netns_cookie)(void *ctx) = (void *)122;
static long (*ringbuf_output)(void *map, void *data, u64 size, u64 flags) = (void *)130;
static long (*loop)(u32 n, void *callback, void *ctx, u64 flags) = (void *)181; // Linux 5.17
static int (*set_retval)(int retval) = (void *)187;                             // Linux 5.18
