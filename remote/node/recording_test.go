// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package node_test

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	kpng "sigs.k8s.io/kpng/api/kpng/v1alpha1"
	"sigs.k8s.io/kpng/nodelocal"
	"sigs.k8s.io/kpng/remote/node"
	"sigs.k8s.io/kpng/watchers"
)

// recordingFile holds the messages of the first version of the protocol: two streams of one
// client, which resumed with the second one.
const recordingFile = "testdata/compat/v1alpha1-first.txt"

// record rewrites the recording, which is only allowed for a version that is deliberately
// incompatible with released clients.
var record = flag.Bool("record", false, "write "+recordingFile) //nolint:gochecknoglobals // defined before flags are parsed

// A recording holds the messages of both sides by stream, in order.
type recording struct {
	streams [][]recordedMessage
	state   string // final state of the client
}

type recordedMessage struct {
	client bool
	bytes  []byte
}

func (r *recording) write() []byte {
	var b bytes.Buffer
	for _, stream := range r.streams {
		b.WriteString("stream\n")
		for _, m := range stream {
			side := "server"
			if m.client {
				side = "client"
			}
			fmt.Fprintf(&b, "%s %s\n", side, base64.StdEncoding.EncodeToString(m.bytes))
		}
	}
	b.WriteString("state\n" + r.state)
	return b.Bytes()
}

func readRecording(t *testing.T) *recording {
	data, err := os.ReadFile(recordingFile)
	require.NoError(t, err)
	r := &recording{}
	in := bufio.NewReader(bytes.NewReader(data))
	for {
		line, err := in.ReadString('\n')
		require.NoError(t, err)
		side, text, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch side {
		case "stream":
			r.streams = append(r.streams, nil)
		case "client", "server":
			b, err := base64.StdEncoding.DecodeString(text)
			require.NoError(t, err)
			last := &r.streams[len(r.streams)-1]
			*last = append(*last, recordedMessage{side == "client", b})
		case "state":
			state, err := io.ReadAll(in)
			require.NoError(t, err)
			r.state = string(state)
			return r
		}
	}
}

// recordedSteps returns the changes of the recording. The client is disconnected during the
// third.
func recordedSteps() []func(tx *watchers.Tx) {
	return []func(*watchers.Tx){
		func(tx *watchers.Tx) { tx.SetEndpointSlice(slice(1, 4)); tx.SetEndpointSlice(slice(2, 2)) },
		func(tx *watchers.Tx) { tx.SetService(newService(7, "")); tx.DeleteService(newService(0, "").Name) },
		func(tx *watchers.Tx) {
			tx.SetService(newService(3, "new"))
			tx.DeleteService(newService(4, "").Name)
			tx.SetNode(&watchers.Node{Name: "node-1", Zone: "zone-2"})
		},
		func(tx *watchers.Tx) { tx.SetEndpointSlice(slice(1, 1)) },
	}
}

// TestRecord writes the recording if -record is set.
func TestRecord(t *testing.T) {
	if !*record {
		t.Skip("only with -record")
	}
	store, r := newClusterStore(), &recording{}
	f := newFixture(t, store, node.ServerConfig{})
	p := newTamperingProxy(t, f)
	p.onMessage = func(stream int, client bool, m proto.Message) {
		for len(r.streams) <= stream {
			r.streams = append(r.streams, nil)
		}
		b, err := proto.Marshal(m)
		require.NoError(t, err)
		r.streams[stream] = append(r.streams[stream], recordedMessage{client, b})
	}
	sink := p.newClient()
	settle := func() {
		sink.wait(t, resolve(t, store, nodelocal.MultiNodeConfig{}, "node-1"))
		eventually(t, func() bool { return f.applied("node-1") })
	}
	settle()
	steps := recordedSteps()
	for _, step := range steps[:2] {
		store.Update(step)
		settle()
	}
	p.withoutClients(func() {
		store.Update(steps[2])
		f.restart()
	})
	settle()
	store.Update(steps[3])
	settle()
	r.state, _ = sink.count()
	p.mu.Lock()
	defer p.mu.Unlock()
	require.Len(t, r.streams, 2)
	require.NoError(t, os.WriteFile(recordingFile, r.write(), 0o600))
}

// A replayServer sends the recorded messages of a server, one recorded stream per stream.
// The last stream stays open.
type replayServer struct {
	kpng.UnimplementedNodeServiceServer
	streams chan []recordedMessage
}

func (r *replayServer) WatchNode(stream kpng.NodeService_WatchNodeServer) error {
	if _, err := stream.Recv(); err != nil {
		return err
	}
	for _, m := range <-r.streams {
		if m.client {
			continue
		}
		if err := stream.SendMsg(rawMessage(m.bytes)); err != nil {
			return err
		}
	}
	if len(r.streams) > 0 {
		return nil
	}
	<-stream.Context().Done()
	return nil
}

// The client reaches the recorded state from the recorded messages of a server, and the
// server accepts the recorded messages of a client.
func TestCompatibilityWithFirstVersion(t *testing.T) {
	recorded := readRecording(t)
	t.Run("server", func(t *testing.T) {
		r := &replayServer{streams: make(chan []recordedMessage, len(recorded.streams))}
		for _, s := range recorded.streams {
			r.streams <- s
		}
		c, err := node.NewClient(node.ClientConfig{NodeName: "node-1"}, serveRaw(t, r))
		require.NoError(t, err)
		sink := newRecordingSink()
		run(t, c, sink)
		sink.wait(t, recorded.state)
		require.Empty(t, r.streams)
	})
	t.Run("client", func(t *testing.T) {
		store, steps := newClusterStore(), recordedSteps()
		f := newFixture(t, store, node.ServerConfig{})
		for i, stream := range recorded.streams {
			if i == 1 {
				store.Update(steps[0])
				steps = steps[1:]
				f.restart()
			}
			c, received, acknowledged := newRawClient(t, f.dial()), uint64(0), 0
			for _, m := range stream {
				var in request
				if !m.client {
					continue
				}
				require.NoError(t, proto.Unmarshal(m.bytes, &in))
				if in.GetHeldDigests() != nil {
					welcome, err := c.stream.Recv()
					require.NoError(t, err)
					if !welcome.GetWelcome().GetSendDigests() {
						require.True(t, welcome.GetWelcome().GetFullSync())
						continue // a full sync is valid as well
					}
				}
				if in.GetAck() != nil {
					if acknowledged++; acknowledged > 1 {
						store.Update(steps[0])
						steps = steps[1:]
					}
					for received < in.GetAck().GetRevision() {
						received = c.waitCommit()
					}
				}
				require.NoError(t, c.stream.SendMsg(rawMessage(m.bytes)))
			}
			require.NotZero(t, acknowledged)
			eventually(t, func() bool { return f.applied("node-1") })
			c.cancel()
			require.Equal(t, codes.Canceled, c.waitEnd())
		}
		require.Empty(t, steps)
	})
}
