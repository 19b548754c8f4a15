// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package statepage serves state to people: one HTML page with a table that is searched and updated
// live, and details of each row. It depends on neither nodes nor Services; packages status and
// servertier fill it.
//
// The page is one document without external assets, under a Content-Security-Policy that permits
// only its own script and style. All texts are inserted as text, never as HTML.
//
//   - page.go: the document, and the choice between it, text and JSON.
//   - events.go: rows as server-sent events, first all and then what has changed.
//   - hostnames.go: refuses requests through names of other hosts.
//   - page.html, page.css and page.js are the document.
package statepage

import (
	"crypto/sha256"
	_ "embed" // for the parts of the document
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

//go:embed page.html
var pageHTML string

//go:embed page.css
var pageCSS string

//go:embed page.js
var pageJS string

// A Format is a form of the answer to a request.
type Format string

// Formats, as the values of the parameter output.
const (
	FormatText   Format = "text"
	FormatJSON   Format = "json"
	FormatHTML   Format = "html"   // the page
	FormatEvents Format = "events" // rows of the page
	FormatDetail Format = "page"   // details of a row, for the page
)

// FormatOf returns the format of a request: that of the parameter output, or HTML for a client that
// prefers it to text, as browsers do, or text. An error is for the client.
func FormatOf(r *http.Request) (Format, error) {
	switch f := Format(r.URL.Query().Get("output")); f { // FormValue would read the body, into memory and files
	case FormatText, FormatJSON, FormatHTML, FormatEvents, FormatDetail:
		return f, nil
	case "":
		if prefersHTML(r.Header.Get("Accept")) {
			return FormatHTML, nil
		}
		return FormatText, nil
	default:
		return "", fmt.Errorf("output %q: want text, json or html", f)
	}
}

// prefersHTML reports whether an Accept header has text/html, with a higher quality than text/plain.
func prefersHTML(accept string) bool {
	quality := map[string]float64{}
	for item := range strings.SplitSeq(accept, ",") {
		mediaType, parameters, _ := strings.Cut(item, ";")
		q := 1.0
		for p := range strings.SplitSeq(parameters, ";") {
			if value, found := strings.CutPrefix(strings.TrimSpace(p), "q="); found {
				q, _ = strconv.ParseFloat(value, 64)
			}
		}
		quality[strings.TrimSpace(mediaType)] = q
	}
	return quality["text/html"] > quality["text/plain"]
}

// document returns the page and its Content-Security-Policy.
func document() (html, policy string) {
	html = strings.NewReplacer("/*STYLE*/", pageCSS, "/*SCRIPT*/", pageJS).Replace(pageHTML)
	return html, strings.Join([]string{
		"default-src 'none'", "script-src " + hashOf(pageJS), "style-src " + hashOf(pageCSS), "connect-src 'self'",
		"base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'",
	}, "; ")
}

func hashOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// ServeDocument answers with the page, which reads events from the same address.
func ServeDocument(w http.ResponseWriter) {
	html, policy := document()
	header := w.Header()
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Content-Security-Policy", policy)
	header.Set("Cache-Control", "no-store")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Vary", "Accept")
	_, _ = w.Write([]byte(html))
}

// A Level is how serious something is.
type Level string

// Levels.
const (
	LevelNormal  Level = ""
	LevelWarning Level = "warning"
	LevelError   Level = "error"
)

// A Detail is what the page shows below the table for one row.
type Detail struct {
	Sections []Section `json:"sections"`
}

// A Section has a title, and below it a text, a table, or both.
type Section struct {
	Title   string   `json:"title"`
	Text    string   `json:"text,omitempty"`
	Columns []string `json:"columns,omitempty"`
	Rows    []Row    `json:"rows,omitempty"`
}

// ServeDetail answers with the details of a row.
func ServeDetail(w http.ResponseWriter, d Detail) {
	data, err := json.Marshal(d)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(data)
}
