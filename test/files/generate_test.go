// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package files

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"unicode/utf16"

	"sigs.k8s.io/yaml"
)

// A generated file has objects in random forms.
type generated struct {
	content   []byte
	extension string
	names     []string        // of the objects
	forms     map[string]bool // those that kubectl reads in another way
}

// generate returns a file. Half of the files have only forms that kubectl reads.
func generate(r *rand.Rand) generated {
	g := generated{extension: pick(r, ".yaml", ".yml", ".json"), forms: map[string]bool{}}
	plain := r.IntN(2) == 0
	allJSON := r.IntN(3) == 0
	var b strings.Builder
	for i := range r.IntN(7) {
		value := g.document(r, i, plain)
		if i > 0 {
			b.WriteString(g.separator(r, plain, allJSON, strings.HasSuffix(b.String(), "\n")))
		}
		if allJSON {
			b.WriteString(asJSON(r, value))
			continue
		}
		b.WriteString(render(r, value))
	}
	g.content = g.encode(r, b.String(), plain)
	return g
}

// document returns an object, a List or an array.
func (g *generated) document(r *rand.Rand, i int, plain bool) any {
	item := func(j int) any { return g.object(r, fmt.Sprintf("o-%d-%d", i, j)) }
	list := func(items ...any) any {
		return map[string]any{"apiVersion": "v1", "kind": "List", "metadata": map[string]any{"resourceVersion": ""}, "items": items}
	}
	switch n := r.IntN(10); {
	case n == 0:
		return list(item(0), item(1))
	case n == 3 && !plain:
		g.forms["nested List"] = true
		return list(item(0), list(item(1), list(item(2))))
	case n == 1:
		return list()
	case n == 2 && !plain:
		g.forms["array"] = true
		return []any{item(0), item(1)}
	}
	return item(0)
}

// object returns an object of a random kind with random fields.
func (g *generated) object(r *rand.Rand, name string) any {
	metadata := map[string]any{"name": name, "annotations": map[string]any{"note": pick(r, "x", "---\n...\n", "a: {b}", "\"'#", "yes", "0123")}}
	if r.IntN(6) == 0 {
		return map[string]any{"apiVersion": "v1", "kind": pick(r, "ConfigMap", "Secret", "Endpoints"), "metadata": metadata}
	}
	g.names = append(g.names, name)
	switch r.IntN(5) {
	case 0:
		metadata["labels"] = map[string]any{"topology.kubernetes.io/zone": pick(r, "a", "b", "1")}
		return map[string]any{"apiVersion": "v1", "kind": "Node", "metadata": metadata,
			"status": map[string]any{"addresses": []any{map[string]any{"type": "InternalIP", "address": "192.0.2.1"}}}}
	case 1:
		metadata["labels"] = map[string]any{"kubernetes.io/service-name": "web"}
		return map[string]any{"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4", "metadata": metadata,
			"ports":     []any{map[string]any{"name": pick(r, "http", "no", "1e3"), "port": 1 + r.IntN(65535)}},
			"endpoints": []any{map[string]any{"addresses": []any{"10.1.0.1"}, "conditions": map[string]any{"ready": r.IntN(2) == 0}}}}
	}
	ports := []any{}
	for i := range r.IntN(4) {
		ports = append(ports, map[string]any{"name": fmt.Sprintf("p%d", i), "port": 1 + r.IntN(65535), "protocol": pick(r, "TCP", "UDP", "SCTP")})
	}
	spec := map[string]any{"clusterIP": pick(r, "10.0.0.1", "2001:db8::1", "::1:2"), "ports": ports, "externalIPs": []any{"192.0.2.9"}, "sessionAffinity": pick(r, "None", "ClientIP")}
	return map[string]any{"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}
}

func asJSON(r *rand.Rand, value any) string {
	b, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	if r.IntN(2) == 0 {
		return string(b)
	}
	var out bytes.Buffer
	if err := json.Indent(&out, b, "", pick(r, " ", "\t", "")); err != nil {
		panic(err)
	}
	return out.String()
}

// render returns a document as JSON or YAML, the latter with a line break at its end.
func render(r *rand.Rand, value any) string {
	if r.IntN(4) == 0 {
		return strings.TrimSuffix(asJSON(r, value), "\n") + "\n"
	}
	b, err := yaml.Marshal(value)
	if err != nil {
		panic(err)
	}
	text := string(b)
	if r.IntN(3) == 0 {
		text = "# comment: [\n" + text + "# end ---\n"
	}
	return text
}

// separator returns what is between two documents.
func (g *generated) separator(r *rand.Rand, plain, allJSON, lineEnded bool) string {
	if allJSON {
		return pick(r, "", "\n", " ", "\n\n\t")
	}
	s := pick(r, "---\n", "--- # next\n", "---\n# only a comment\n---\n")
	if !plain && r.IntN(3) == 0 {
		switch r.IntN(3) {
		case 0:
			s, g.forms["end marker"] = "...\n", true
		case 1:
			s, g.forms["mark"] = "---\n\uFEFF", true
		default:
			s, g.forms["directive"] = "...\n%YAML 1.2\n---\n", true
		}
	}
	if !lineEnded {
		s = "\n" + s
	}
	return s
}

// encode returns the content of the file in a random encoding.
func (g *generated) encode(r *rand.Rand, s string, plain bool) []byte {
	utf16With := func(order binary.AppendByteOrder, s string) (out []byte) {
		for _, u := range utf16.Encode([]rune(s)) {
			out = order.AppendUint16(out, u)
		}
		return out
	}
	n := r.IntN(8)
	if plain {
		n = r.IntN(6)
	}
	switch n {
	case 0:
		return []byte("\uFEFF" + s)
	case 1:
		return []byte(strings.ReplaceAll(s, "\n", "\r\n"))
	case 2:
		return utf16With(binary.LittleEndian, "\uFEFF"+s)
	case 3:
		return utf16With(binary.BigEndian, "\uFEFF"+s)
	case 6:
		g.forms["CR"] = true
		return []byte(strings.ReplaceAll(s, "\n", "\r"))
	case 7:
		g.forms["UTF-16 without mark"] = true
		return utf16With(binary.LittleEndian, s)
	}
	return []byte(s)
}

func pick(r *rand.Rand, choices ...string) string { return choices[r.IntN(len(choices))] }
