// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package remoteflags_test

import (
	"flag"
	"fmt"

	"sigs.k8s.io/kpng/nodeproxy/command"
	"sigs.k8s.io/kpng/nodeproxy/remoteflags"
)

func ExampleDefineClient() {
	fs := flag.NewFlagSet("agent", flag.ContinueOnError)
	client := remoteflags.DefineClient(fs, "server", "", "")
	if err := command.Parse(fs, []string{"-server", "127.0.0.1:10270,unix:///run/kpng.sock"}); err != nil {
		fmt.Println(err)
		return
	}
	conns, err := client.Dial()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer conns.Close()
	for _, conn := range conns.Conns {
		fmt.Println(conn.Target())
	}
	// Output:
	// 127.0.0.1:10270
	// unix:///run/kpng.sock
}

func ExampleDefineServer() {
	fs := flag.NewFlagSet("server", flag.ContinueOnError)
	server := remoteflags.DefineServer(fs)
	if err := command.Parse(fs, []string{"-relays", "system:serviceaccount:kpng:relay"}); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(server.Validate()) // then server.Run
	// Output: usage: -relays without -cert
}
