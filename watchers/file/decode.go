// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package file

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kjson "sigs.k8s.io/json"

	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/kubeapi"
)

// An objectID identifies an object in a file set.
type objectID struct{ kind, namespace, name string }

func (id objectID) String() string { return objectName(id.kind, id.namespace, id.name) }

// A decodedObject is the result of decoding one object.
type decodedObject struct {
	id     objectID
	line   int
	object watchers.Object // nil for an object that is invalid or that the filter excludes
	err    *Error          // nil for a valid object
}

// contents is the result of decoding one file.
type contents struct {
	objects []decodedObject
	// documentErrors are about documents whose object could not be identified.
	documentErrors []*Error
	// fieldErrors are about unknown and duplicate fields, which are ignored.
	fieldErrors []*Error
}

// A decoder decodes files.
type decoder struct {
	filter      kubeapi.Filter
	logger      *slog.Logger
	loggedKinds map[string]bool // ignored kinds that have been logged
}

func (d *decoder) decode(name string, data []byte) contents {
	var out contents
	for _, doc := range splitDocuments(name, data) {
		switch {
		case doc.err != nil:
			line := doc.line
			if doc.errLine > 0 {
				line = doc.errLine
			}
			out.documentErrors = append(out.documentErrors, &Error{File: name, Line: line, Object: doc.guessObject(), Err: doc.err})
		case string(doc.json) != "null":
			d.decodeObject(&out, name, &doc, doc.json, metav1.TypeMeta{})
		}
	}
	return out
}

// An objectHeader is the part of an object that identifies it.
type objectHeader struct {
	metav1.TypeMeta `json:",inline"`
	Metadata        struct {
		Namespace string `json:"namespace"`
		Name      string `json:"name"`
	} `json:"metadata"`
}

// decodeObject decodes an object, or the items of a list, and adds the result to out. An
// object without apiVersion and kind has those of defaultType.
func (d *decoder) decodeObject(out *contents, file string, doc *document, raw []byte, defaultType metav1.TypeMeta) {
	var h objectHeader
	fail := func(object string, err error) {
		out.documentErrors = append(out.documentErrors, &Error{File: file, Line: doc.line, Object: object, Err: err})
	}
	if err := kjson.UnmarshalCaseSensitivePreserveInts(raw, &h); err != nil {
		fail("", fmt.Errorf("not a Kubernetes object: %w", err))
		return
	}
	if h.Kind == "" && h.APIVersion == "" {
		h.TypeMeta = defaultType
	}
	if h.Kind == "" || h.APIVersion == "" {
		fail("", errors.New("apiVersion or kind is missing"))
		return
	}
	if isList(h.TypeMeta) {
		d.decodeList(out, file, doc, raw, h.TypeMeta)
		return
	}
	into := newAPIObject(h.TypeMeta)
	if into == nil {
		d.logIgnored(file, h.TypeMeta)
		return
	}
	if h.Metadata.Name == "" {
		fail(h.Kind, errors.New("metadata.name is missing"))
		return
	}
	switch {
	case !namespaced(h.Kind):
		h.Metadata.Namespace = ""
	case h.Metadata.Namespace == "":
		h.Metadata.Namespace = metav1.NamespaceDefault
	}
	o := decodedObject{id: objectID{h.Kind, h.Metadata.Namespace, h.Metadata.Name}, line: doc.line}
	fieldErrors, err := decodeStrict(doc, raw, into)
	if err == nil {
		o.object, err = d.convert(into, h.Metadata.Namespace)
	}
	if err != nil {
		o.err = &Error{File: file, Line: doc.line, Object: o.id.String(), Err: err}
	}
	out.addFieldErrors(file, o.id.String(), fieldErrors)
	addProblems(o.object, o.id, fieldErrors)
	out.objects = append(out.objects, o)
}

func isList(t metav1.TypeMeta) bool {
	switch t.APIVersion + " " + t.Kind {
	case "v1 List", "v1 ServiceList", "v1 NodeList", "discovery.k8s.io/v1 EndpointSliceList", "networking.k8s.io/v1 ServiceCIDRList":
		return true
	}
	return false
}

// newAPIObject returns an empty object of a type, or nil for a type that is ignored.
func newAPIObject(t metav1.TypeMeta) any {
	switch t.APIVersion + " " + t.Kind {
	case "v1 Service":
		return &corev1.Service{}
	case "v1 Node":
		return &corev1.Node{}
	case "networking.k8s.io/v1 ServiceCIDR":
		return &networkingv1.ServiceCIDR{}
	case "discovery.k8s.io/v1 EndpointSlice":
		return &discoveryv1.EndpointSlice{}
	}
	return nil
}

// convert sets the defaults of an API object and converts it. It returns nil if the
// filter excludes the object.
func (d *decoder) convert(apiObject any, namespace string) (watchers.Object, error) {
	setDefaults(apiObject, namespace)
	if err := checkAllocated(apiObject); err != nil {
		return nil, err
	}
	object, err := d.filter.Object(apiObject)
	if invalid := (*kubeapi.InvalidObjectError)(nil); errors.As(err, &invalid) {
		// Error.Object already has the name of the object.
		return nil, errors.New(invalid.Problem.Field + ": " + invalid.Problem.Message)
	}
	return object, err
}

func (d *decoder) decodeList(out *contents, file string, doc *document, raw []byte, t metav1.TypeMeta) {
	var list metav1.List
	fieldErrors, err := decodeStrict(doc, raw, &list)
	out.addFieldErrors(file, t.Kind, fieldErrors)
	if err != nil {
		out.documentErrors = append(out.documentErrors, &Error{File: file, Line: doc.line, Object: t.Kind, Err: err})
		return
	}
	// The items of a ServiceList are Services, even without apiVersion and kind.
	t.Kind = strings.TrimSuffix(t.Kind, "List")
	for _, item := range list.Items {
		d.decodeObject(out, file, doc, item.Raw, t)
	}
}

// A fieldError is about a field that is unknown, or a duplicate of an earlier one.
type fieldError struct {
	line  int
	field string
	err   error
}

// decodeStrict decodes an object. An error means that no part of it can be used; field
// errors are about fields that are ignored.
func decodeStrict(doc *document, raw []byte, into any) ([]fieldError, error) {
	strict, err := kjson.UnmarshalStrict(raw, into)
	if err != nil {
		return nil, err
	}
	var out []fieldError
	for _, err := range strict {
		e := fieldError{line: doc.line, err: err}
		if f, ok := errors.AsType[kjson.FieldError](err); ok {
			e.field = f.FieldPath()
			e.line = max(e.line, doc.lineOf(e.field[strings.LastIndexByte(e.field, '.')+1:]))
		}
		out = append(out, e)
	}
	return out, nil
}

func (c *contents) addFieldErrors(file, object string, list []fieldError) {
	for _, e := range list {
		c.fieldErrors = append(c.fieldErrors, &Error{File: file, Line: e.line, Object: object, Err: e.err})
	}
}

// addProblems adds field errors to the Problems of an object, which may be nil.
func addProblems(object watchers.Object, id objectID, list []fieldError) {
	var problems *[]watchers.Problem
	switch o := object.(type) {
	case *watchers.Service:
		problems = &o.Problems
	case *watchers.EndpointSlice:
		problems = &o.Problems
	case *watchers.Node:
		problems = &o.Problems
	case *watchers.ServiceCIDR:
		problems = &o.Problems
	default:
		return
	}
	for _, e := range list {
		*problems = append(*problems, watchers.Problem{Object: id.String(), Field: e.field, Message: e.err.Error() + "; ignored"})
	}
}

// logIgnored logs once that objects of a kind are ignored.
func (d *decoder) logIgnored(file string, t metav1.TypeMeta) {
	if kind := t.APIVersion + " " + t.Kind; !d.loggedKinds[kind] {
		d.loggedKinds[kind] = true
		d.logger.Info("Kind of object is not used, ignored", "apiVersion", t.APIVersion, "kind", t.Kind, "file", file)
	}
}
