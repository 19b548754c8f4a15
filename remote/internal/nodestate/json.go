// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nodestate

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// JSON returns a message as protojson on one line, with all fields, and with IP addresses and
// values of extensions as text instead of base64.
// protojson varies its white space on purpose; JSON removes it, so that equal messages are equal
// bytes.
func JSON(m proto.Message) ([]byte, error) {
	raw, err := protojson.MarshalOptions{EmitUnpopulated: true}.Marshal(m)
	if err != nil {
		return nil, err
	}
	if raw, err = readable(raw, m.ProtoReflect().Descriptor()); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := json.Compact(&b, raw); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// readable returns a message in JSON with text for the fields of type bytes: IP addresses, and
// values of extensions. Everything else stays as it is, byte by byte.
func readable(message json.RawMessage, kind protoreflect.MessageDescriptor) (json.RawMessage, error) {
	in := json.NewDecoder(bytes.NewReader(message))
	if _, err := in.Token(); err != nil { // the bracket
		return nil, err
	}
	var fields [][]byte
	for in.More() {
		name, err := in.Token()
		if err != nil {
			return nil, err
		}
		var value json.RawMessage
		if err := in.Decode(&value); err != nil {
			return nil, err
		}
		value, err = readableField(value, kind.Fields().ByJSONName(fmt.Sprint(name)))
		if err != nil {
			return nil, fmt.Errorf("%v: %w", name, err)
		}
		fields = append(fields, fmt.Appendf(nil, "%q:%s", name, value))
	}
	return slices.Concat([]byte("{"), bytes.Join(fields, []byte(",")), []byte("}")), nil
}

func readableField(value json.RawMessage, field protoreflect.FieldDescriptor) (json.RawMessage, error) {
	one := readableAddress
	switch {
	case string(value) == "null", field.IsMap():
		return value, nil
	case field.FullName() == extensionValue:
		one = readableText
	case field.Kind() == protoreflect.MessageKind:
		one = func(v json.RawMessage) (json.RawMessage, error) { return readable(v, field.Message()) }
	case field.Kind() != protoreflect.BytesKind:
		return value, nil
	}
	if !field.IsList() {
		return one(value)
	}
	var list []json.RawMessage
	if err := json.Unmarshal(value, &list); err != nil {
		return nil, err
	}
	parts := make([][]byte, len(list))
	for i, v := range list {
		var err error
		if parts[i], err = one(v); err != nil {
			return nil, err
		}
	}
	return slices.Concat([]byte("["), bytes.Join(parts, []byte(",")), []byte("]")), nil
}

// extensionValue is the only field of type bytes that is not an address.
const extensionValue = "kpng.v1alpha1.Extension.value"

// readableText returns bytes as a string, or as {"base64": ...} if they are not text.
func readableText(value json.RawMessage) (json.RawMessage, error) {
	var raw []byte
	if err := json.Unmarshal(value, &raw); err != nil {
		return nil, err
	}
	if !utf8.Valid(raw) {
		return slices.Concat([]byte(`{"base64":`), value, []byte("}")), nil
	}
	var b bytes.Buffer
	text := json.NewEncoder(&b)
	text.SetEscapeHTML(false)
	err := text.Encode(string(raw))
	return bytes.TrimSpace(b.Bytes()), err
}

func readableAddress(value json.RawMessage) (json.RawMessage, error) {
	var raw []byte // in base64
	if err := json.Unmarshal(value, &raw); err != nil || len(raw) == 0 {
		return value, err
	}
	addr, ok := netip.AddrFromSlice(raw)
	if !ok {
		return value, nil
	}
	return json.Marshal(addr)
}
