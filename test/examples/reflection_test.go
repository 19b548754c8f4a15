// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package examples

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

// A client that has no .proto files, such as grpcurl, can call the server by reflection.
func TestReflection(t *testing.T) {
	_, _, conn := serve(t, "testdata/manifests")
	stream, err := reflectionpb.NewServerReflectionClient(conn).ServerReflectionInfo(t.Context())
	require.NoError(t, err)
	call := func(r *reflectionpb.ServerReflectionRequest) *reflectionpb.ServerReflectionResponse {
		require.NoError(t, stream.Send(r))
		response, err := stream.Recv()
		require.NoError(t, err)
		require.Nil(t, response.GetErrorResponse())
		return response
	}
	var names []string
	list := call(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{}})
	for _, s := range list.GetListServicesResponse().GetService() {
		names = append(names, s.GetName())
	}
	require.Subset(t, names, []string{"kpng.v1alpha1.InspectService", "kpng.v1alpha1.NodeService", "grpc.health.v1.Health"})

	files := &descriptorpb.FileDescriptorSet{}
	response := call(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_FileContainingSymbol{
		FileContainingSymbol: "kpng.v1alpha1.InspectService",
	}})
	for _, raw := range response.GetFileDescriptorResponse().GetFileDescriptorProto() {
		file := &descriptorpb.FileDescriptorProto{}
		require.NoError(t, proto.Unmarshal(raw, file))
		files.File = append(files.File, file)
	}
	registry, err := protodesc.NewFiles(files)
	require.NoError(t, err)
	in := message(t, registry, "GetNodeStateRequest")
	require.NoError(t, protojson.Unmarshal([]byte(`{"nodeName": "node-3", "namespace": "kube-system", "name": "dns"}`), in))
	out := message(t, registry, "GetNodeStateResponse")
	require.NoError(t, conn.Invoke(t.Context(), "/kpng.v1alpha1.InspectService/GetNodeState", in, out, grpc.WaitForReady(true)))
	require.Contains(t, protojson.Format(out), `10.244.3.3:53(local)`)
}

func message(t *testing.T, registry *protoregistry.Files, name string) *dynamicpb.Message {
	d, err := registry.FindDescriptorByName(protoreflect.FullName("kpng.v1alpha1." + name))
	require.NoError(t, err)
	return dynamicpb.NewMessage(d.(protoreflect.MessageDescriptor))
}
