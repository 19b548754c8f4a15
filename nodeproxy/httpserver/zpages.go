// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package httpserver

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"time"
)

const (
	contentType = "Content-Type"
	textPlain   = "text/plain; charset=utf-8"
	// zpagesGroup is the API group of the structured forms of /statusz and /flagz.
	zpagesGroup = "config.k8s.io"
)

// zpagesVersions are the versions of the structured forms, which are equal.
func zpagesVersions() []string { return []string{"v1beta1", "v1alpha1"} }

// NoSniff wraps a handler: browsers must not guess the type of its responses.
func NoSniff(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		h.ServeHTTP(w, r)
	})
}

// HandleHealthz adds /healthz and /healthz/ping of Kubernetes components to mux: they
// answer "ok" as long as the process serves. With ?verbose, /healthz lists its only check.
func HandleHealthz(mux *http.ServeMux) {
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(contentType, textPlain)
		if _, verbose := r.URL.Query()["verbose"]; verbose {
			_, _ = io.WriteString(w, "[+]ping ok\nhealthz check passed\n")
			return
		}
		_, _ = io.WriteString(w, "ok")
	})
	mux.Handle("/healthz/ping", Text("ok"))
}

// A StatuszConfig configures /statusz.
type StatuszConfig struct {
	// Component is the name of the program.
	Component string
	// Version is the version of the program, and Emulation that of Kubernetes whose
	// behaviour it has.
	Version, Emulation string
	// Started is when the program started.
	Started time.Time
	// Paths are the paths that the page lists.
	Paths []string
}

// Statusz returns a handler of /statusz of Kubernetes components: text, or the object
// Statusz of config.k8s.io if the request accepts it.
func Statusz(cfg StatuszConfig) http.Handler {
	cfg.Paths = slices.Sorted(slices.Values(cfg.Paths))
	return zpage(cfg.Component, "Statusz", func() []string {
		up := time.Since(cfg.Started)
		return []string{
			"Started: " + cfg.Started.UTC().Format(time.UnixDate),
			fmt.Sprintf("Up: %d hr %02d min %02d sec", int(up.Hours()), int(up.Minutes())%60, int(up.Seconds())%60),
			"Go version: " + runtime.Version(), "Binary version: " + cfg.Version, "Emulation version: " + cfg.Emulation,
			"Paths: " + strings.Join(cfg.Paths, " "),
		}
	}, func() map[string]any {
		return map[string]any{
			"startTime": cfg.Started.UTC().Format(time.RFC3339), "uptimeSeconds": int64(time.Since(cfg.Started).Seconds()),
			"goVersion": runtime.Version(), "binaryVersion": cfg.Version, "emulationVersion": cfg.Emulation, "paths": cfg.Paths,
		}
	})
}

// Flagz returns a handler of /flagz of Kubernetes components, which shows the values of
// command line flags by name: text, or the object Flagz of config.k8s.io if the request
// accepts it.
func Flagz(component string, flags map[string]string) http.Handler {
	flags = maps.Clone(flags)
	return zpage(component, "Flagz", func() []string {
		var lines []string
		for _, name := range slices.Sorted(maps.Keys(flags)) {
			lines = append(lines, name+":"+flags[name])
		}
		return lines
	}, func() map[string]any { return map[string]any{"flags": flags} })
}

// zpage returns a handler of a page that has a text and a structured form.
func zpage(component, kind string, lines func() []string, fields func() map[string]any) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		form, version := negotiate(r.Header.Get("Accept"), kind)
		switch form {
		case "text/plain":
			w.Header().Set(contentType, textPlain)
			fmt.Fprintf(w, "\n%s %s\nWarning: This page is for people; its format may change at any time.\n%s\n",
				component, strings.ToLower(kind), strings.Join(lines(), "\n"))
		case "application/json", "application/yaml": // JSON is YAML
			w.Header().Set(contentType, fmt.Sprintf("%s;g=%s;v=%s;as=%s", form, zpagesGroup, version, kind))
			object := fields()
			object["kind"], object["apiVersion"] = kind, zpagesGroup+"/"+version
			object["metadata"] = map[string]string{"name": component}
			_ = json.NewEncoder(w).Encode(object) // the client may have disconnected
		default:
			w.Header().Set(contentType, "application/json")
			w.WriteHeader(http.StatusNotAcceptable)
			_ = json.NewEncoder(w).Encode(map[string]any{ // of strings and numbers
				"kind": "Status", "apiVersion": "v1", "metadata": struct{}{}, "status": "Failure", "reason": "NotAcceptable", "code": http.StatusNotAcceptable,
				"message": "only the following media types are accepted: application/json, application/yaml, text/plain",
			})
		}
	})
}

// negotiate returns the first acceptable media type of a page, and the version of its
// structured form; "" if there is none.
func negotiate(accept, kind string) (form, version string) {
	if strings.TrimSpace(accept) == "" {
		return "text/plain", ""
	}
	for clause := range strings.SplitSeq(accept, ",") {
		media, params, err := mime.ParseMediaType(clause)
		switch {
		case err != nil:
		case media == "*/*" || media == "text/*" || media == "text/plain":
			return "text/plain", ""
		case (media == "application/json" || media == "application/yaml") && params["g"] == zpagesGroup &&
			strings.EqualFold(params["as"], kind) && slices.Contains(zpagesVersions(), params["v"]):
			return media, params["v"]
		}
	}
	return "", ""
}

// HandleVerbosity adds /debug/flags/v of Kubernetes components to mux: PUT changes the
// verbosity of the log to the number in the body. set is called for each request, from any
// goroutine; its error is answered with status 400.
func HandleVerbosity(mux *http.ServeMux, set func(level string) error) {
	index := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set(contentType, "text/html; charset=utf-8")
		_, _ = io.WriteString(w, "<html>\n<head><title>/debug/flags/</title></head>\n<body>\nPUT changes a flag:\n<ul><li>v</li></ul>\n</body>\n</html>\n")
	}
	mux.HandleFunc("/debug/flags", index)
	mux.HandleFunc("/debug/flags/", index)
	mux.HandleFunc("/debug/flags/v", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(contentType, "text/plain")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if r.Method != http.MethodPut {
			w.WriteHeader(http.StatusNotAcceptable)
			_, _ = io.WriteString(w, "unsupported http method\n")
			return
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 100))
		if err == nil {
			err = set(strings.TrimSpace(string(body)))
		}
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprintln(w, err)
			return
		}
		fmt.Fprintf(w, "successfully set klog.logging.verbosity to %s\n", body)
	})
}
