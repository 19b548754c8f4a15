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

// The first version of the protocol, as it went over the wire: two streams of one agent,
// which resumed with the second what it had from the first.
const recordingFile = "testdata/compat/v1alpha1-first.txt"

// record is for a version that is incompatible on purpose. Otherwise the file stays as it
// is: it is what agents in the field speak.
var record = flag.Bool("record", false, "write "+recordingFile+" anew")

// A recording is what both sides said, stream by stream, in order.
type recording struct {
	streams [][]recordedMessage
	state   string // what the agent has in the end
}

type recordedMessage struct {
	client bool
	bytes  []byte
}

func (r *recording) write() []byte {
	var b bytes.Buffer
	for _, stream := range r.streams {
		b.WriteString("stream\n")
		for _, w := range stream {
			side := "server"
			if w.client {
				side = "client"
			}
			fmt.Fprintf(&b, "%s %s\n", side, base64.StdEncoding.EncodeToString(w.bytes))
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
			rest, err := io.ReadAll(in)
			require.NoError(t, err)
			r.state = string(rest)
			return r
		}
	}
}

// recordedSteps change the facts of the recording; the agent is away for the third.
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

// TestRecord writes the recording anew when it is asked to.
func TestRecord(t *testing.T) {
	if !*record {
		t.Skip("only with -record")
	}
	store, r := newClusterStore(), &recording{}
	s := newFixture(t, store, node.ServerConfig{})
	f := newTamperingProxy(t, s)
	f.onMessage = func(stream int, client bool, m proto.Message) {
		for len(r.streams) <= stream {
			r.streams = append(r.streams, nil)
		}
		b, err := proto.Marshal(m)
		require.NoError(t, err)
		r.streams[stream] = append(r.streams[stream], recordedMessage{client, b})
	}
	k := f.newClient()
	settle := func() {
		k.wait(t, resolve(t, store, nodelocal.MultiNodeConfig{}, "node-1"))
		eventually(t, func() bool { return s.applied("node-1") })
	}
	settle()
	steps := recordedSteps()
	for _, step := range steps[:2] {
		store.Update(step)
		settle()
	}
	f.withoutClients(func() {
		store.Update(steps[2])
		s.restart()
	})
	settle()
	store.Update(steps[3])
	settle()
	r.state, _ = k.count()
	f.mu.Lock()
	defer f.mu.Unlock()
	require.Len(t, r.streams, 2)
	require.NoError(t, os.WriteFile(recordingFile, r.write(), 0o600))
}

// A replayServer is a server that says what was recorded: one stream after the other, and the
// last does not end.
type replayServer struct {
	kpng.UnimplementedNodeServiceServer
	streams chan []recordedMessage
}

func (r *replayServer) WatchNode(stream kpng.NodeService_WatchNodeServer) error {
	if _, err := stream.Recv(); err != nil {
		return err
	}
	for _, w := range <-r.streams {
		if w.client {
			continue
		}
		if err := stream.SendMsg(rawMessage(w.bytes)); err != nil {
			return err
		}
	}
	if len(r.streams) > 0 {
		return nil
	}
	<-stream.Context().Done()
	return nil
}

// TestTheFirstVersion: the present agent understands what servers of the first version
// said, and the present server what agents of the first version say.
func TestTheFirstVersion(t *testing.T) {
	recorded := readRecording(t)
	t.Run("server", func(t *testing.T) {
		r := &replayServer{streams: make(chan []recordedMessage, len(recorded.streams))}
		for _, s := range recorded.streams {
			r.streams <- s
		}
		c, err := node.NewClient(node.ClientConfig{NodeName: "node-1"}, serveRaw(t, r))
		require.NoError(t, err)
		k := newRecordingSink()
		run(t, c, k)
		k.wait(t, recorded.state)
		require.Empty(t, r.streams)
	})
	t.Run("agent", func(t *testing.T) {
		store, steps := newClusterStore(), recordedSteps()
		s := newFixture(t, store, node.ServerConfig{})
		for i, stream := range recorded.streams {
			if i == 1 {
				store.Update(steps[0])
				steps = steps[1:]
				s.restart()
			}
			c, heard, acknowledged := newRawClient(t, s.dial()), uint64(0), 0
			for _, w := range stream {
				var in request
				if !w.client {
					continue
				}
				require.NoError(t, proto.Unmarshal(w.bytes, &in))
				if in.GetHeldDigests() != nil {
					welcome, err := c.stream.Recv()
					require.NoError(t, err)
					if !welcome.GetWelcome().GetSendDigests() {
						require.True(t, welcome.GetWelcome().GetFullSync())
						continue // the server may have better things to do
					}
				}
				if in.GetAck() != nil {
					if acknowledged++; acknowledged > 1 {
						store.Update(steps[0])
						steps = steps[1:]
					}
					for heard < in.GetAck().GetRevision() {
						heard = c.waitCommit()
					}
				}
				require.NoError(t, c.stream.SendMsg(rawMessage(w.bytes)))
			}
			require.NotZero(t, acknowledged)
			eventually(t, func() bool { return s.applied("node-1") })
			c.cancel()
			require.Equal(t, codes.Canceled, c.waitEnd())
		}
		require.Empty(t, steps)
	})
}
