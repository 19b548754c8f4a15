// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package execsource

import (
	"encoding/json"
	"maps"
	"os"
	"reflect"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestSchema checks that docs/exec-source.schema.json has the fields that are read.
func TestSchema(t *testing.T) {
	data, err := os.ReadFile("../../docs/exec-source.schema.json")
	require.NoError(t, err)
	var schema struct {
		Properties map[string]struct{ Type string }
		Defs       struct {
			Object struct {
				Properties struct {
					APIVersion, Kind struct{ Enum []string }
				}
			}
		} `json:"$defs"`
	}
	require.NoError(t, json.Unmarshal(data, &schema))
	types := map[reflect.Kind]string{reflect.Pointer: "integer", reflect.Bool: "boolean", reflect.Slice: "array"}
	want := map[string]string{}
	for f := range reflect.TypeFor[update]().Fields() {
		want[f.Tag.Get("json")] = types[f.Type.Kind()]
	}
	have := map[string]string{}
	for name, p := range schema.Properties {
		have[name] = p.Type
	}
	require.Equal(t, want, have)
	kinds := map[string]string{"Service": "v1", "Node": "v1", "EndpointSlice": "discovery.k8s.io/v1", "ServiceCIDR": "networking.k8s.io/v1"}
	require.ElementsMatch(t, slices.Collect(maps.Keys(kinds)), schema.Defs.Object.Properties.Kind.Enum)
	require.ElementsMatch(t, slices.Compact(slices.Sorted(maps.Values(kinds))), schema.Defs.Object.Properties.APIVersion.Enum)
}
