// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package file

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/stretchr/testify/require"
)

const (
	serviceA = "Service default/a 10.0.0.1"
	serviceB = "Service default/b 10.0.0.2"
	serviceC = "Service default/c 10.0.0.3"
)

// TestEveryDocumentIsServed renders Services a, b and c in one file.
func TestEveryDocumentIsServed(t *testing.T) {
	ja, jb, jc := jsonService("a", "10.0.0.1"), jsonService("b", "10.0.0.2"), jsonService("c", "10.0.0.3")
	ya, yb, yc := service("a", "10.0.0.1"), service("b", "10.0.0.2"), service("c", "10.0.0.3")
	flow := func(name, ip string) string {
		return "{apiVersion: v1, kind: Service, metadata: {name: " + name + "}, spec: {clusterIP: " + ip + "}}"
	}
	sequence := "- " + strings.ReplaceAll(strings.TrimSpace(ya), "\n", "\n  ") + "\n- " + jb + "\n- " + flow("c", "10.0.0.3") + "\n"
	for name, content := range map[string]string{
		"JSON lines":                        ja + "\n" + jb + "\n" + jc + "\n",
		"concatenated JSON":                 ja + jb + jc,
		"pretty JSON":                       pretty(ja) + "\n" + pretty(jb) + "\n" + pretty(jc),
		"pretty JSON without line breaks":   pretty(ja) + pretty(jb) + pretty(jc),
		"JSON with comments between":        "# a\n" + ja + "\n# b\n" + jb + " # and c\n" + jc,
		"JSON, then YAML":                   ja + "\n---\n" + yb + "---\n" + yc,
		"JSON lines, then YAML":             ja + "\n" + jb + "\n---\n" + yc,
		"JSON, then YAML, no separator":     ja + "\n" + jb + "\n" + yc,
		"YAML, then JSON lines":             ya + "---\n" + jb + "\n" + jc,
		"YAML, JSON, YAML":                  ya + "---\n" + jb + "\n---\n" + yc,
		"JSON after separator":              "---" + " " + ja + "\n--- " + jb + "\n--- # c\n" + jc,
		"end markers":                       ya + "...\n" + yb + "...\n" + yc + "...\n",
		"end markers and separators":        "---\n" + ya + "...\n---\n" + yb + "...\n# c\n---\n" + yc,
		"JSON and end markers":              ja + "\n...\n" + jb + "\n...\n" + yc,
		"directives":                        "%YAML 1.2\n---\n" + ya + "...\n%YAML 1.1\n---\n" + yb + "---\n" + yc,
		"empty documents":                   "---\n---\n" + ya + "---\n\n# nothing\n---\n" + yb + "---\nnull\n---\n" + yc + "---\n",
		"flow YAML in lines":                flow("a", "10.0.0.1") + "\n" + flow("b", "10.0.0.2") + "\n" + flow("c", "10.0.0.3") + "\n",
		"JSON with trailing commas":         ja[:len(ja)-1] + ",}\n" + jb[:len(jb)-1] + ",}\n" + jc + "\n",
		"array of jq":                       "[" + ja + "," + jb + "," + jc + "]",
		"arrays of jq -s":                   "[[" + ja + "],[" + jb + "],[]]\n[" + jc + "]",
		"array with default indentation":    pretty("[" + ja + "," + jb + "," + jc + "]"),
		"sequence":                          sequence,
		"sequence after a document":         "# a\n---\n" + sequence,
		"nested Lists":                      `{"apiVersion":"v1","kind":"List","items":[` + ja + `,{"apiVersion":"v1","kind":"List","items":[` + jb + `,{"apiVersion":"v1","kind":"ServiceList","items":[` + jc + `]}]}]}`,
		"Lists in lines":                    `{"apiVersion":"v1","kind":"List","items":[` + ja + `]}` + "\n" + `{"apiVersion":"v1","kind":"List","items":[` + jb + `,` + jc + `]}`,
		"indented YAML":                     "  " + strings.ReplaceAll(strings.TrimSpace(ya), "\n", "\n  ") + "\n---\n" + yb + "---\n" + yc,
		"line separators U+2028 and U+0085": strings.ReplaceAll(ya+"---\n"+yb, "\n", "\u2028") + strings.ReplaceAll("---\n"+yc, "\n", "\u0085"),
		"byte order mark after separator":   "\uFEFF" + ya + "---\n\uFEFF" + yb + "---\n\uFEFF" + jc,
		"concatenated files with marks":     "\uFEFF" + ya + "\uFEFF" + yb + "\uFEFF---\n" + yc,
		"concatenated JSON with marks":      "\uFEFF" + ja + "\uFEFF" + jb + "\n\uFEFF" + jc,
	} {
		for _, extension := range []string{"yaml", "json"} {
			for encoding, encode := range encodings() {
				t.Run(name+" "+extension+" "+encoding, func(t *testing.T) {
					s := newScanner(t)
					s.put("f."+extension, encode(content))
					objects, errs := s.scan()
					require.Equal(t, []string{serviceA, serviceB, serviceC}, objects, "%s", errs)
					require.Empty(t, errs)
				})
			}
		}
	}
}

func pretty(s string) string {
	var out bytes.Buffer
	if err := json.Indent(&out, []byte(s), "", "\t"); err != nil {
		panic(err)
	}
	return out.String()
}

// encodings returns the encodings and line ends of files.
func encodings() map[string]func(string) string {
	wide := func(order binary.AppendByteOrder, width int, mark string) func(string) string {
		return func(s string) string {
			var out []byte
			if width == 4 {
				for _, r := range mark + s {
					out = order.AppendUint32(out, uint32(r))
				}
				return string(out)
			}
			for _, u := range utf16.Encode([]rune(mark + s)) {
				out = order.AppendUint16(out, u)
			}
			return string(out)
		}
	}
	return map[string]func(string) string{
		"UTF-8":             func(s string) string { return s },
		"UTF-8 with mark":   func(s string) string { return byteOrderMark + strings.TrimPrefix(s, byteOrderMark) },
		"CRLF":              func(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") },
		"CR":                func(s string) string { return strings.ReplaceAll(s, "\n", "\r") },
		"UTF-16 LE":         wide(binary.LittleEndian, 2, byteOrderMark),
		"UTF-16 BE":         wide(binary.BigEndian, 2, byteOrderMark),
		"UTF-16 LE no mark": func(s string) string { return wide(binary.LittleEndian, 2, "")(strings.TrimPrefix(s, byteOrderMark)) },
		"UTF-16 BE no mark": func(s string) string { return wide(binary.BigEndian, 2, "")(strings.TrimPrefix(s, byteOrderMark)) },
		"UTF-32 LE":         wide(binary.LittleEndian, 4, byteOrderMark),
		"UTF-32 BE":         wide(binary.BigEndian, 4, byteOrderMark),
	}
}

// TestTextBesideDocuments has text that is no document beside Services that are served.
func TestTextBesideDocuments(t *testing.T) {
	ja, jb, jc := jsonService("a", "10.0.0.1"), jsonService("b", "10.0.0.2"), jsonService("c", "10.0.0.3")
	for _, c := range []struct{ name, content, objects, err string }{
		{"text after JSON", ja + "\nEOF\n", "a", `f.yaml:2: document 2: not a Kubernetes object: "EOF"`},
		{"text after JSON on the same line", ja + " EOF", "a", `f.yaml:1: document 2: not a Kubernetes object: "EOF"`},
		{"brace after JSON", ja + "}", "a", `f.yaml:1: document 2: text after a JSON value, "}": yaml: did not find expected node content`},
		{"half a document after JSON", ja + "\n" + jb[:40], "a", "f.yaml:2: document 2: unexpected EOF"},
		{"half a document between JSON", ja + "\n" + jb[:40] + "\n" + jc, "ac", "f.yaml:2: document 2: unexpected EOF"},
		{"text between JSON", ja + "\nhello\n" + jb + "\n" + jc, "abc", `f.yaml:2: document 2: not a Kubernetes object: "hello"`},
		{"comma between JSON", ja + ",\n" + jb, "ab", `f.yaml:1: document 2: text after a JSON value, ",": yaml: `},
		{"text after flow YAML", "{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {clusterIP: 10.0.0.1}} EOF", "a",
			"f.yaml:1: document 2: text after the end of the document: yaml: "},
		{"text between separators", ja + "\n---\nhello\n---\n" + jb, "ab", `f.yaml:3: document 2: not a Kubernetes object: "hello"`},
		{"text after an end marker", ja + "\n... hello\n---\n" + jb, "ab", `f.yaml:2: document 2: not a Kubernetes object: "hello"`},
		{"template", service("a", "10.0.0.1") + "---\nname: {{ .Values.x }}: {{\n", "a", `f.yaml:8: document 2: yaml: `},
		{"array with other values", "[1," + ja + ",null,\n\"x\"]", "a", "f.yaml:1: document 1: [0]: not a Kubernetes object: 1"},
		{"invalid UTF-8 in a comment", service("a", "10.0.0.1") + "# Gr\xf6\xdfe\n---\n" + jb, "ab", "f.yaml:7: invalid UTF-8, replaced by U+FFFD"},
		{"odd UTF-16", encodings()["UTF-16 LE"](ja+"\n") + "\n", "a", "f.yaml:2: document 2: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newScanner(t)
			s.put("f.yaml", c.content)
			objects, errs := s.scan()
			var want []string
			for i, o := range []string{serviceA, serviceB, serviceC} {
				if strings.Contains(c.objects, "abc"[i:i+1]) {
					want = append(want, o)
				}
			}
			require.Equal(t, want, objects, "%s", errs)
			require.NotEmpty(t, errs)
			require.True(t, strings.HasPrefix(errs[0], c.err), "got  %s\nwant %s", errs[0], c.err)
		})
	}
}

// FuzzSplit renders random Services in random forms and encodings. Each Service is read,
// in its order.
func FuzzSplit(f *testing.F) {
	for seed := range uint64(300) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		content, want := randomFile(rand.New(rand.NewPCG(seed, 0)))
		var got []string
		for _, e := range newDecoder().decode("f", []byte(content)).entries {
			require.Nil(t, e.err, "%s", content)
			got = append(got, e.id.name)
		}
		require.Equal(t, want, got, "%q", content)
	})
}

// randomFile returns the content of a file, and the names of its Services in order.
func randomFile(r *rand.Rand) (content string, names []string) {
	var b strings.Builder
	const empty, inJSON, inYAML = 0, 1, 2
	before := empty
	for i := range r.IntN(8) {
		name := fmt.Sprintf("s%d", i)
		names = append(names, name)
		kind, text := randomForm(r, name)
		separators := []string{"---\n", "--- # next\n", "...\n", "...\n---\n", "---\n# empty\n---\n", "\uFEFF"}
		if b.Len() > 0 && before == inJSON {
			b.WriteString([]string{"", " ", "\n", "\n\n\t", "\n# comment\n"}[r.IntN(5)])
		}
		switch s := b.String(); {
		case before == empty || before == inJSON && kind == inJSON && r.IntN(3) > 0:
		case before == inJSON && r.IntN(3) > 0 && strings.HasSuffix(s, "\n"): // YAML follows JSON
		default:
			if !strings.HasSuffix(s, "\n") {
				b.WriteString("\n")
			}
			b.WriteString(separators[r.IntN(len(separators))])
		}
		b.WriteString(text)
		before = kind
	}
	all := encodings()
	order := []string{"UTF-8", "CRLF", "CR", "UTF-8 with mark", "UTF-16 LE", "UTF-16 BE", "UTF-32 LE", "UTF-32 BE"}
	return all[order[r.IntN(len(order))]](b.String()), names
}

// randomForm returns a Service as JSON (1) or YAML (2).
func randomForm(r *rand.Rand, name string) (kind int, text string) {
	j := jsonService(name, "10.0.0.1")
	switch r.IntN(6) {
	case 0:
		return 1, j
	case 1:
		return 1, pretty(j)
	case 2:
		return 1, `{"kind":"List","apiVersion":"v1","items":[` + j + `]}`
	case 3:
		return 1, "[" + pretty(j) + "]"
	case 4:
		return 2, "- " + strings.ReplaceAll(strings.TrimSpace(service(name, "10.0.0.1")), "\n", "\n  ") + "\n"
	default:
		return 2, service(name, "10.0.0.1") + "status: {} # --- no separator\n"
	}
}
