// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package apidecode

import (
	"bufio"
	"io"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
)

// Numbers of fields in a metav1.WatchEvent and in the runtime.RawExtension in it.
const (
	eventType   = 1
	eventObject = 2

	extensionRaw = 1
)

// An eventDecoder decodes the events of a watch without copying the object in them, and leaves
// everything else to the serializer.
type eventDecoder struct{ runtime.Serializer }

// Decode implements [runtime.Decoder]. The object of the event is a part of data: client-go
// decodes it before it reads the next event into the same buffer.
func (d eventDecoder) Decode(data []byte, defaults *schema.GroupVersionKind, into runtime.Object) (runtime.Object, *schema.GroupVersionKind, error) {
	if event, ok := into.(*metav1.WatchEvent); ok && decodeEvent(data, event) {
		return event, &schema.GroupVersionKind{}, nil
	}
	return d.Serializer.Decode(data, defaults, into)
}

func decodeEvent(data []byte, event *metav1.WatchEvent) bool {
	*event = metav1.WatchEvent{}
	if len(data) == 0 {
		return false
	}
	for len(data) > 0 {
		f, length := nextField(data)
		if length == 0 || f.number <= eventObject && f.wire != wireBytes {
			return false
		}
		data = data[length:]
		switch f.number {
		case eventType:
			event.Type = eventTypeOf(f.bytes)
		case eventObject:
			raw, n := nextField(f.bytes)
			if raw.number != extensionRaw || raw.wire != wireBytes || n != len(f.bytes) {
				return false
			}
			event.Object.Raw = raw.bytes
		}
	}
	return true
}

// eventTypeOf returns a type without an allocation if it is known.
func eventTypeOf(text []byte) string {
	for _, known := range [...]watch.EventType{watch.Added, watch.Modified, watch.Deleted, watch.Bookmark, watch.Error} {
		if string(text) == string(known) {
			return string(known)
		}
	}
	return string(text)
}

// bufferSize is how much of a response is read at once. Each read from an HTTP/2 connection
// can send a frame to the server, which permits it to send more.
const bufferSize = 32 << 10

// A bufferedFramer reads frames through a buffer.
type bufferedFramer struct{ runtime.Framer }

// NewFrameReader implements [runtime.Framer].
func (f bufferedFramer) NewFrameReader(r io.ReadCloser) io.ReadCloser {
	return f.Framer.NewFrameReader(struct {
		io.Reader
		io.Closer
	}{bufio.NewReaderSize(r, bufferSize), r})
}
