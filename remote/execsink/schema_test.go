// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package execsink

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/reflect/protoreflect"

	kpng "sigs.k8s.io/kpng/api/kpng/v1alpha1"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
)

const schemaFile = "../../docs/exec-sink.schema.json"

type object = map[string]any

// TestSchema compares docs/exec-sink.schema.json with the types. UPDATE_SCHEMA=1 rewrites it.
func TestSchema(t *testing.T) {
	want, err := json.MarshalIndent(lineSchema(t), "", "  ")
	require.NoError(t, err)
	want = append(want, '\n')
	if os.Getenv("UPDATE_SCHEMA") != "" {
		require.NoError(t, os.WriteFile(schemaFile, want, 0o644))
	}
	have, err := os.ReadFile(schemaFile)
	require.NoError(t, err)
	require.Equal(t, string(want), string(have), "UPDATE_SCHEMA=1 rewrites it")
}

// lineSchema returns the schema of a line. That of Services and nodes comes from the protobuf
// messages.
func lineSchema(t *testing.T) object {
	defs := object{}
	g := generator{comments: comments(t), defs: defs}
	node, service := g.ref((&kpng.Node{}).ProtoReflect().Descriptor()), g.ref((&kpng.ServiceState{}).ProtoReflect().Descriptor())
	return object{
		"$schema": "https://json-schema.org/draft/2020-12/schema",
		"title":   "Line that the program of an exec: sink receives",
		"type":    "object", "additionalProperties": false, "required": []string{"revision", "full", "changed", "removed"},
		"properties": object{
			"revision": object{"type": "integer", "minimum": 1, "description": "Number of the update, for the answer."},
			"full":     object{"type": "boolean", "description": "changed is the complete state: all other Services and the node before are obsolete."},
			"node":     object{"$ref": node, "description": "The node, if it has changed or full is true."},
			"changed":  object{"type": "array", "items": object{"$ref": service}, "description": "Services that are new or have changed."},
			"removed": object{"type": "array", "items": object{"type": "string"},
				"description": "Services that are removed, as NAMESPACE/NAME or ORIGIN:NAMESPACE/NAME."},
		},
		"$defs": defs,
	}
}

// A generator adds the schemas of messages to defs.
type generator struct {
	comments map[string]string // by message and field, as MESSAGE.FIELD
	defs     object
}

// ref adds a message and returns the reference to it.
func (g generator) ref(m protoreflect.MessageDescriptor) string {
	name := string(m.Name())
	if _, known := g.defs[name]; !known {
		properties, required := object{}, []string{}
		g.defs[name] = object{
			"type": "object", "additionalProperties": false, "description": g.comments[name], "properties": properties,
		}
		for i := range m.Fields().Len() {
			f := m.Fields().Get(i)
			s := g.field(f)
			s["description"] = g.comments[name+"."+string(f.Name())]
			properties[f.JSONName()] = s
			required = append(required, f.JSONName())
		}
		slices.Sort(required)
		g.defs[name].(object)["required"] = required
	}
	return "#/$defs/" + name
}

func (g generator) field(f protoreflect.FieldDescriptor) object {
	if f.IsList() {
		return object{"type": "array", "items": g.value(f)}
	}
	return g.value(f)
}

func (g generator) value(f protoreflect.FieldDescriptor) object {
	switch f.Kind() {
	case protoreflect.BoolKind:
		return object{"type": "boolean"}
	case protoreflect.StringKind:
		return object{"type": "string"}
	case protoreflect.Uint32Kind:
		return object{"type": "integer", "minimum": 0}
	case protoreflect.Uint64Kind: // protojson writes it as text
		return object{"type": "string", "pattern": "^[0-9]+$"}
	case protoreflect.BytesKind: // nodestate.JSON writes it as text
		if f.FullName() == "kpng.v1alpha1.Extension.value" {
			return object{"oneOf": []object{{"type": "string"}, {"type": "object", "properties": object{"base64": object{"type": "string"}}}}}
		}
		return object{"type": "string", "format": "ip"}
	case protoreflect.EnumKind:
		var names []string
		for i := range f.Enum().Values().Len() {
			names = append(names, string(f.Enum().Values().Get(i).Name()))
		}
		return object{"enum": names}
	case protoreflect.MessageKind:
		if f.IsList() {
			return object{"$ref": g.ref(f.Message())}
		}
		return object{"oneOf": []object{{"type": "null"}, {"$ref": g.ref(f.Message())}}}
	}
	panic(fmt.Sprintf("field %s has the kind %s", f.FullName(), f.Kind()))
}

// comments returns the comments of the messages and fields of the protocol.
func comments(t *testing.T) map[string]string {
	all := map[string]string{}
	declaration := regexp.MustCompile(`^(?:message (\w+) \{|  (?:repeated |optional )?[\w.]+ (\w+) = \d+;)`)
	for _, file := range []string{"node.proto", "inspect.proto"} {
		data, err := os.ReadFile("../../api/kpng/v1alpha1/" + file)
		require.NoError(t, err)
		message, comment := "", ""
		for line := range strings.Lines(string(data)) {
			if text, found := strings.CutPrefix(strings.TrimSpace(line), "//"); found {
				comment = strings.TrimSpace(comment + text)
				continue
			}
			switch m := declaration.FindStringSubmatch(line); {
			case m == nil:
			case m[1] != "":
				message = m[1]
				all[message] = comment
			default:
				all[message+"."+m[2]] = comment
			}
			comment = ""
		}
	}
	return all
}

// TestLinesMatchTheSchema validates lines of generated states.
func TestLinesMatchTheSchema(t *testing.T) {
	data, err := os.ReadFile(schemaFile)
	require.NoError(t, err)
	var schema object
	require.NoError(t, json.Unmarshal(data, &schema))
	v := validator{root: schema}
	updates, lines := 0, 0
	sinktest.TestSink(t, sinktest.Harness{
		New: func(t *testing.T) (localsink.Sink, func() string) {
			state := ""
			return localsink.Func(func(ctx context.Context, u *localsink.Update) error {
				if err := ctx.Err(); err != nil {
					return err
				}
				full, err := encode(u, 1, true)
				require.NoError(t, err)
				state = string(full)
				if updates++; updates%8 != 0 { // to be quick with the race detector
					return nil
				}
				delta, err := encode(u, 1, false)
				require.NoError(t, err)
				for _, line := range [][]byte{full, delta} {
					var value any
					require.NoError(t, json.Unmarshal(line, &value))
					require.NoError(t, v.check("", schema, value))
					lines++
				}
				return nil
			}), func() string { return state }
		},
		Extensions: []localsink.Extension{{Key: "example.com/mode", Value: "fast"}},
	})
	require.Greater(t, lines, 50)
	var wrong any
	require.NoError(t, json.Unmarshal([]byte(`{"revision":1,"full":true,"changed":[{"namespace":1}],"removed":[]}`), &wrong))
	require.ErrorContains(t, v.check("", schema, wrong), "/changed/0")
}

// A validator checks values with the part of JSON Schema that the schema uses.
type validator struct{ root object }

func (v validator) check(path string, schema object, value any) error {
	if ref, ok := schema["$ref"].(string); ok {
		defs, _ := v.root["$defs"].(object)
		target, _ := defs[strings.TrimPrefix(ref, "#/$defs/")].(object)
		return v.check(path, target, value)
	}
	if list, ok := schema["oneOf"].([]any); ok {
		var err error
		for _, s := range list {
			if err = v.check(path, s.(object), value); err == nil {
				return nil
			}
		}
		return err
	}
	if names, ok := schema["enum"].([]any); ok && !slices.Contains(names, value) {
		return fmt.Errorf("%s: %v is not in %v", path, value, names)
	}
	types := map[string]bool{}
	switch value := value.(type) {
	case nil:
		types["null"] = true
	case bool:
		types["boolean"] = true
	case float64:
		types["integer"] = value == float64(int64(value))
	case string:
		types["string"] = true
		if p, ok := schema["pattern"].(string); ok && (p != "^[0-9]+$" || value == "" || strings.Trim(value, "0123456789") != "") {
			return fmt.Errorf("%s: %q does not match %s", path, value, p)
		}
	case []any:
		types["array"] = true
		items, _ := schema["items"].(object)
		for i, item := range value {
			if err := v.check(fmt.Sprintf("%s/%d", path, i), items, item); err != nil {
				return err
			}
		}
	case object:
		types["object"] = true
		if err := v.checkObject(path, schema, value); err != nil {
			return err
		}
	}
	if want, ok := schema["type"].(string); ok && !types[want] {
		return fmt.Errorf("%s: %v is not of type %s", path, value, want)
	}
	return nil
}

func (v validator) checkObject(path string, schema, value object) error {
	properties, _ := schema["properties"].(object)
	required, _ := schema["required"].([]any)
	for _, name := range required {
		if _, found := value[name.(string)]; !found {
			return fmt.Errorf("%s: %v is missing", path, name)
		}
	}
	for name, field := range value {
		s, known := properties[name].(object)
		if !known {
			return fmt.Errorf("%s: %s is unknown", path, name)
		}
		if err := v.check(path+"/"+name, s, field); err != nil {
			return err
		}
	}
	return nil
}
