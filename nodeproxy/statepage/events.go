// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package statepage

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"time"
)

const (
	interval   = time.Second      // between two comparisons of the rows
	keepAlive  = 15 * time.Second // between two lines, so that proxies and the server notice an end
	maxStreams = 16               // at a time; each compares all rows
	maxWrite   = 30 * time.Second // for a client to take what it is sent
)

// A View is what the page shows. Texts are plain.
type View struct {
	Title      string
	Columns    []string   // of the rows; the first one has the level of the row
	Properties []Property // above the table
	Rows       []Row      // in any order; the page sorts them by key
	Links      []Link     // to other pages
}

// A Link is a reference to another page, relative to this one.
type Link struct {
	Name string `json:"name"`
	Path string `json:"path"`
}

// A Property is a name and a value.
type Property struct {
	Name  string `json:"name"`
	Value string `json:"value"`
	Level Level  `json:"level,omitempty"`
}

// A Row is a line of a table.
type Row struct {
	// Key is unique among the rows; the page shows it as the title of the details.
	Key   string   `json:"key"`
	Cells []string `json:"cells"`
	Level Level    `json:"level,omitempty"`
	// Detail is the path of the details, below that of the page; empty without details.
	Detail string `json:"detail,omitempty"`
}

func (r Row) equal(o Row) bool {
	return r.Level == o.Level && r.Detail == o.Detail && slices.Equal(r.Cells, o.Cells)
}

// Events sends views to pages. Create it with [NewEvents].
type Events struct {
	view    func(ctx context.Context) View
	streams chan struct{} // holds one element for each stream
}

// NewEvents returns an Events that sends what view returns. Calls of view overlap; its rows must not
// change afterwards. Without a page that is open, it is never called.
func NewEvents(view func(ctx context.Context) View) *Events {
	return &Events{view: view, streams: make(chan struct{}, maxStreams)}
}

// change is the JSON of an event.
type change struct {
	Full       bool       `json:"full,omitempty"`
	Title      string     `json:"title,omitempty"`
	Columns    []string   `json:"columns,omitempty"`
	Links      []Link     `json:"links,omitempty"`
	Properties []Property `json:"properties"`
	Rows       []Row      `json:"rows"`
	Removed    []string   `json:"removed"`
}

// ServeHTTP sends all rows, and once a second those that have changed, until the client leaves.
func (e *Events) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	select {
	case e.streams <- struct{}{}:
		defer func() { <-e.streams }()
	default:
		http.Error(w, "too many pages are open", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	s := &stream{out: w, control: http.NewResponseController(w), sent: map[string]Row{}}
	if s.send(e.view(r.Context())) != nil {
		return
	}
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-r.Context().Done():
			return
		case <-ticker.C:
			if s.send(e.view(r.Context())) != nil {
				return
			}
		}
	}
}

// A stream is what one page has received.
type stream struct {
	out        http.ResponseWriter
	control    *http.ResponseController
	sent       map[string]Row
	properties []Property
	started    bool
	last       time.Time // of the last write
}

// send writes the differences of a view from what the page has.
func (s *stream) send(v View) error {
	c := change{Properties: v.Properties, Rows: []Row{}, Removed: []string{}}
	if !s.started {
		c.Full, c.Title, c.Columns, c.Links = true, v.Title, v.Columns, v.Links
	}
	present := make(map[string]struct{}, len(v.Rows))
	for _, row := range v.Rows {
		present[row.Key] = struct{}{}
		if old, found := s.sent[row.Key]; !found || !old.equal(row) {
			s.sent[row.Key] = row
			c.Rows = append(c.Rows, row)
		}
	}
	for key := range s.sent {
		if _, found := present[key]; !found {
			delete(s.sent, key)
			c.Removed = append(c.Removed, key)
		}
	}
	slices.Sort(c.Removed)
	if s.started && len(c.Rows)+len(c.Removed) == 0 && slices.Equal(s.properties, v.Properties) {
		if time.Since(s.last) < keepAlive {
			return nil
		}
		return s.write([]byte(":\n\n"))
	}
	s.started, s.properties = true, v.Properties
	if c.Properties == nil {
		c.Properties = []Property{}
	}
	data, err := json.Marshal(c)
	if err != nil {
		return err
	}
	return s.write(slices.Concat([]byte("event: rows\ndata: "), bytes.TrimSpace(data), []byte("\n\n")))
}

// write writes to a client that takes it in time.
func (s *stream) write(text []byte) error {
	s.last = time.Now()
	_ = s.control.SetWriteDeadline(s.last.Add(maxWrite)) // not every ResponseWriter has one
	if _, err := s.out.Write(text); err != nil {
		return err
	}
	return s.control.Flush()
}
