// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package file

import (
	"bytes"
	"encoding/binary"
	"unicode/utf16"
	"unicode/utf8"
)

const byteOrderMark = "\uFEFF"

// normalize converts the content of a file to UTF-8 with "\n" as line break. Like kubectl,
// it replaces invalid bytes by U+FFFD; invalidLine is the line of the first of them, or 0.
func normalize(data []byte) (text []byte, invalidLine int) {
	text = toUTF8(data)
	if bytes.IndexByte(text, '\r') >= 0 {
		text = bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))
		text = bytes.ReplaceAll(text, []byte("\r"), []byte("\n"))
	}
	if utf8.Valid(text) {
		return text, 0
	}
	valid := bytes.ToValidUTF8(text, []byte(string(utf8.RuneError)))
	same := 0
	for same < len(text) && text[same] == valid[same] {
		same++
	}
	return valid, 1 + bytes.Count(text[:same], []byte("\n"))
}

// toUTF8 removes the byte order mark and decodes UTF-16 and UTF-32. Without a byte order
// mark the encoding is determined by the zero bytes of the first character, which is ASCII
// in any manifest.
func toUTF8(data []byte) []byte {
	at := func(i int) int {
		if i < len(data) {
			return int(data[i])
		}
		return -1
	}
	switch {
	case bytes.HasPrefix(data, []byte(byteOrderMark)):
		return data[len(byteOrderMark):]
	case bytes.HasPrefix(data, []byte{0, 0, 0xFE, 0xFF}), at(0) == 0 && at(1) == 0 && at(2) == 0:
		return decodeUnits(data, 4, binary.BigEndian)
	case bytes.HasPrefix(data, []byte{0xFF, 0xFE, 0, 0}), at(1) == 0 && at(2) == 0 && at(3) == 0:
		return decodeUnits(data, 4, binary.LittleEndian)
	case bytes.HasPrefix(data, []byte{0xFE, 0xFF}), at(0) == 0:
		return decodeUnits(data, 2, binary.BigEndian)
	case bytes.HasPrefix(data, []byte{0xFF, 0xFE}), at(1) == 0:
		return decodeUnits(data, 2, binary.LittleEndian)
	}
	return data
}

// decodeUnits decodes UTF-16 (width 2) or UTF-32 (width 4), without a byte order mark at
// the start. An incomplete unit at the end becomes U+FFFD.
func decodeUnits(data []byte, width int, order binary.ByteOrder) []byte {
	out := make([]byte, 0, len(data)/width)
	for pos := 0; pos < len(data); pos += width {
		r := utf8.RuneError
		switch {
		case len(data)-pos < width:
		case width == 4:
			r = rune(order.Uint32(data[pos:])) // AppendRune replaces invalid values
		default:
			r = rune(order.Uint16(data[pos:]))
			if utf16.IsSurrogate(r) && len(data)-pos >= 4 {
				if r = utf16.DecodeRune(r, rune(order.Uint16(data[pos+2:]))); r != utf8.RuneError {
					pos += 2
				}
			}
		}
		out = utf8.AppendRune(out, r)
	}
	return bytes.TrimPrefix(out, []byte(byteOrderMark))
}

// lineEnd returns the offset after the line that begins at pos. YAML parsers also break
// lines at U+0085, U+2028 and U+2029; exotic reports whether the text contains one of them.
func lineEnd(text []byte, pos int, exotic bool) int {
	line := text[pos:]
	if i := bytes.IndexByte(line, '\n'); i >= 0 {
		line = line[:i+1]
	}
	if !exotic {
		return pos + len(line)
	}
	if i := bytes.IndexFunc(line, isExoticBreak); i >= 0 {
		_, size := utf8.DecodeRune(line[i:])
		return pos + i + size
	}
	return pos + len(line)
}

func isExoticBreak(r rune) bool { return r == '\u0085' || r == '\u2028' || r == '\u2029' }

// isBreakOrBlank reports whether text is empty or begins with a blank or a line break.
func isBreakOrBlank(text []byte) bool {
	r, _ := utf8.DecodeRune(text)
	return len(text) == 0 || r == ' ' || r == '\t' || r == '\n' || isExoticBreak(r)
}

// countLines returns the number of line breaks in text, counted as a YAML parser does.
func countLines(text []byte) int {
	n := bytes.Count(text, []byte("\n"))
	for _, r := range []string{"\u0085", "\u2028", "\u2029"} {
		n += bytes.Count(text, []byte(r))
	}
	return n
}
